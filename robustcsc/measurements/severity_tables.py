"""Severity tables: the corruptions of a benchmark and their parameters at each severity, read from TOML.

A file holds one ``[benchmark]`` table and one table per corruption::

    [benchmark]
    image_size = 32
    source = "Hendrycks & Dietterich, ICLR 2019; make_cifar_c.py"

    [gaussian_noise]
    kernel = "gaussian_noise"   # a key of PARAMETERS
    group = "noise"
    standard = true             # one of the 15 benchmark corruptions
    levels = [{ std = 0.04 }, { std = 0.06 }, { std = 0.08 }, { std = 0.09 }, { std = 0.10 }]
"""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from robustcsc.errors import DataError, SpecError, UnknownNameError
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.kernels import GROUPS, PARAMETERS, parameter_problem
from robustcsc.measurements.perturbations import SEVERITIES, SeverityTable

ORIGINAL_NAMES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""The photographs of frost in the authors' repository."""


@dataclass(frozen=True)
class TableEntry:
    """One corruption of a severity table.

    Attributes:
        kernel: Key of `robustcsc.measurements.kernels.PARAMETERS`.
        group: ``"noise"``, ``"blur"``, ``"weather"`` or ``"digital"``.
        standard: True for the 15 corruptions that enter mCE, False for the 4 extra ones.
        levels: The kernel's parameters at severities 1 to 5.
    """

    kernel: str
    group: str
    standard: bool
    levels: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Spec:
    """A severity table.

    Attributes:
        name: Name of the file without its suffix.
        image_size: Side in pixels of the images the table was made for.
        source: Where the constants come from.
        digest: First 8 hex digits of the SHA-256 of the file.
        corruptions: The corruptions in the order of the file.
        frost_root: Folder with the original photographs of frost; None for those of torch-uncertainty-assets.
        path: The file; None for a table of the package.
    """

    name: str
    image_size: int
    source: str
    digest: str
    corruptions: dict[str, TableEntry]
    frost_root: Path | None = None
    path: Path | None = None

    @property
    def table(self) -> SeverityTable:
        """What corrupted images depend on, as records name it."""
        photographs = textures_digest(self.frost_root) if self.frost_root else ""
        return SeverityTable(name=self.name, digest=self.digest, photographs=photographs)


def packaged_specs() -> tuple[str, ...]:
    """Names of the severity tables that ship with the package, sorted."""
    folder = files("robustcsc.corruption_specs")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_spec(name_or_path: str, frost_root: Path | None = None) -> Spec:
    """Reads and checks a severity table.

    Args:
        name_or_path: A packaged name (``"cifar10_c"``, ``"imagenet_c"``) or the path of a TOML file.
        frost_root: Folder with the original photographs frost1.png ... frost5.jpg, for the kernel ``frost``.

    Raises:
        UnknownNameError: If there is neither a packaged table nor a file of that name.
        SpecError: If the file cannot be read or is not a valid table; names file, entry, level (from 1) and field.
        DataError: If the photographs of frost cannot be read.

    Examples:
        >>> load_spec("cifar10_c").name
        'cifar10_c'
    """
    if frost_root is not None:
        # Photographs are cached by path, which must not depend on the working directory.
        frost_root = frost_root.expanduser().absolute()
        textures_digest(frost_root)
    if name_or_path in packaged_specs():
        resource = files("robustcsc.corruption_specs").joinpath(f"{name_or_path}.toml")
        return _parse(f"{name_or_path}.toml", name_or_path, resource.read_bytes(), frost_root)
    path = Path(name_or_path)
    if not path.exists() and path.suffix != ".toml":
        raise UnknownNameError("severity table", name_or_path, packaged_specs())
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); give --spec the path of a TOML file.") from error
    return replace(_parse(str(path), path.stem, content, frost_root), path=path.absolute())


def select(spec: Spec, names: str) -> list[str]:
    """Names of corruptions, in the order of the table and each once.

    Args:
        spec: A severity table.
        names: ``"all"``, ``"standard"``, a group or a corruption, or several of these separated by commas. The first
            word of a corruption is enough where no other one begins with it, and ``gaussian``, ``shot``, ``speckle``
            and ``impulse`` are the noises, as for a lambda fit. A hyphen stands for an underscore.

    Raises:
        UnknownNameError: If the table has no corruption or group of this name, or several.

    Examples:
        >>> select(load_spec("cifar10_c"), "gaussian,defocus")
        ['gaussian_noise', 'defocus_blur']
    """
    sets: dict[str, list[str]] = {"all": list(spec.corruptions)}
    for name, corruption in spec.corruptions.items():
        sets.setdefault(corruption.group, []).append(name)
        if corruption.standard:
            sets.setdefault("standard", []).append(name)
    chosen: set[str] = set()
    for word in (part.strip() for part in names.split(",")):
        found = sets.get(word) or _meant(spec, word)
        if word not in sets and len(found) != 1:
            raise UnknownNameError("corruption", word, [*sets, *NOISE_KERNELS, *spec.corruptions])
        chosen.update(found)
    return [name for name in spec.corruptions if name in chosen]


def _meant(spec: Spec, typed: str) -> list[str]:
    """Returns the corruptions of a table that a word may mean."""
    word = typed.replace("-", "_")
    word = NOISE_KERNELS.get(word, word)
    return [word] if word in spec.corruptions else [name for name in spec.corruptions if name.startswith(f"{word}_")]


def _parse(file: str, name: str, content: bytes, frost_root: Path | None) -> Spec:
    """A checked table from the bytes of a file, whose name is for messages."""
    try:
        tables = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{file}: is not valid TOML ({error}).") from error
    benchmark = tables.pop("benchmark", None)
    _check_fields(benchmark, {"image_size": int, "source": str}, f"{file}: [benchmark]")
    if benchmark["image_size"] < 1:
        raise SpecError(f"{file}: [benchmark] field 'image_size' must be positive, not {benchmark['image_size']}.")
    if not tables:
        raise SpecError(f"{file}: has no corruption; add a table like [gaussian_noise].")
    corruptions = {entry: _corruption(f"{file}: [{entry}]", table) for entry, table in tables.items()}
    digest = hashlib.sha256(content).hexdigest()[:8]
    return Spec(name, benchmark["image_size"], benchmark["source"], digest, corruptions, frost_root)


def _check_fields(table: object, types: Mapping[str, type], place: str) -> None:
    """Raises SpecError unless `table` has exactly these fields with these types."""
    if not isinstance(table, dict):
        raise SpecError(f"{place} must be a table with the fields {', '.join(types)}.")
    for field, kind in types.items():
        if field not in table:
            raise SpecError(f"{place} field {field!r} is missing.")
        if type(table[field]) is not kind:
            raise SpecError(f"{place} field {field!r} must be of type {kind.__name__}, not {table[field]!r}.")
    for field in table:
        if field not in types:
            raise SpecError(f"{place} field {field!r} is unknown; allowed are {', '.join(types)}.")


def _corruption(place: str, table: dict[str, Any]) -> TableEntry:
    """One checked entry; `place` is the file and the entry, for messages."""
    _check_fields(table, {"kernel": str, "group": str, "standard": bool, "levels": list}, place)
    kernel, group, levels = table["kernel"], table["group"], table["levels"]
    for field, value, known in (("kernel", kernel, tuple(PARAMETERS)), ("group", group, GROUPS)):
        if value not in known:
            raise SpecError(f"{place} field {field!r} is {value!r} but must be one of {', '.join(known)}.")
    if len(levels) != len(SEVERITIES):
        raise SpecError(f"{place} field 'levels' must hold 5 levels, not {len(levels)}.")
    for severity, level in zip(SEVERITIES, levels, strict=True):
        if not isinstance(level, dict):
            raise SpecError(f"{place} level {severity} must be a table of parameters, not {level!r}.")
        if problem := parameter_problem(kernel, level):
            raise SpecError(f"{place} level {severity} {problem}.")
    values = tuple({field: float(value) for field, value in level.items()} for level in levels)
    return TableEntry(kernel, group, table["standard"], values)


def default_spec_name(image_shape: tuple[int, int, int]) -> str:
    """Returns the severity table for images of a shape: CIFAR-10-C's below 96 pixels, ImageNet-C's from there on."""
    return "imagenet_c" if min(image_shape[1:]) >= 96 else "cifar10_c"


def textures_digest(folder: Path) -> str:
    """First 8 hex digits of the SHA-256 over the bytes of the five original files in a folder.

    Raises:
        DataError: If a file is missing; the message names the file.
    """
    digest = hashlib.sha256()
    for _, content in photographs(folder, ORIGINAL_NAMES):
        digest.update(content)
    return digest.hexdigest()[:8]


def photographs(place: Traversable, names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yields the name of each photograph of frost with the content of its file.

    Raises:
        DataError: If one cannot be read; the message names the file.
    """
    for name in names:
        try:
            content = (place / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"The photograph of frost {place / name} cannot be read ({error.strerror}); give --frost-root a "
                f"folder that holds {', '.join(names)}."
            ) from error
        yield name, content
