"""Severity tables: the corruptions of a benchmark and their parameters at each severity, read from TOML.

A file holds one ``[benchmark]`` table and one table per corruption::

    [benchmark]
    image_size = 32
    source = "Hendrycks & Dietterich, ICLR 2019; make_cifar_c.py"
    pixels = "8 bit"            # how images are stored as published: the default, "JPEG quality 85" or "float"

    [gaussian_noise]
    kernel = "gaussian_noise"   # a key of PARAMETERS
    group = "noise"
    standard = true             # one of the 15 benchmark corruptions
    levels = [{ std = 0.04 }, { std = 0.06 }, { std = 0.08 }, { std = 0.09 }, { std = 0.10 }]
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from robustcsc.errors import DataError, SpecError, UnknownNameError, hint
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.kernels import GROUPS, PARAMETERS, parameter_problem
from robustcsc.measurements.perturbations import SEVERITIES, Pixels, SeverityTable
from robustcsc.toml_files import TomlFile

ORIGINAL_NAMES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""The photographs of frost in the authors' repository."""

_NAME, _LONGEST = re.compile("[a-z0-9_-]+"), 100
_TAKEN = ("all", "standard", *GROUPS)

_PUBLISHED = {"imagenet_c": Pixels.JPEG}
"""Tables of the package whose files say nothing of pixels: a word more would change the digest in every record."""

_TYPE_WORDS = {int: "a whole number", str: "text in quotes", bool: "true or false", list: "a list"}


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
        pixels: How corrupted images are stored as published.
        frost_root: Folder with the original photographs of frost; None for those of torch-uncertainty-assets.
        path: The file; None for a table of the package.
    """

    name: str
    image_size: int
    source: str
    digest: str
    corruptions: dict[str, TableEntry]
    pixels: Pixels = Pixels.BYTES
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
        SpecError: If the file cannot be read or is not a valid table; the sentence has file, line
            and key.
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
        packaged = _parse(Path(f"{name_or_path}.toml"), name_or_path, resource.read_bytes(), frost_root)
        return replace(packaged, pixels=_PUBLISHED.get(name_or_path, packaged.pixels))
    path = Path(name_or_path)
    if not path.exists() and path.suffix != ".toml":
        raise UnknownNameError("severity table", name_or_path, packaged_specs())
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path} cannot be read ({error.strerror}): give --spec the path of a TOML file.") from error
    return replace(_parse(path, path.stem, content, frost_root), path=path.absolute())


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


def _parse(path: Path, name: str, content: bytes, frost_root: Path | None) -> Spec:
    """A checked table from the bytes of a file, whose path is for messages."""
    file = TomlFile.of(path, content, SpecError)
    tables = file.tables()
    types = {"image_size": int, "source": str, "pixels": str}
    benchmark = _fields(file, "benchmark", tables.pop("benchmark", None), types, {"pixels": Pixels.BYTES.value})
    if (size := benchmark["image_size"]) < 1:
        raise file.error(("benchmark", "image_size"), f"the side of an image is at least 1 pixel, not {size}.")
    stored = tuple(it.value for it in Pixels)
    if benchmark["pixels"] not in stored:
        raise file.error(
            ("benchmark", "pixels"), f"unknown words {benchmark['pixels']!r}: {hint(benchmark['pixels'], stored)}"
        )
    if not tables:
        raise SpecError(f"{path} has no corruption: add a table like [gaussian_noise].")
    corruptions = {name: _corruption(file, name, table) for name, table in tables.items()}
    digest = hashlib.sha256(content).hexdigest()[:8]
    return Spec(name, size, benchmark["source"], digest, corruptions, Pixels(benchmark["pixels"]), frost_root)


def _fields(
    file: TomlFile,
    name: str,
    table: object,
    types: Mapping[str, type],
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Returns a table of a file, with defaults, if it has exactly these fields with these types."""
    if not isinstance(table, dict):
        needed = ", ".join(key for key in types if key not in defaults)
        raise file.error((name, 0), f"write a table [{name}] with the keys {needed}.")
    for key, value in table.items():
        if key not in types:
            raise file.error((name, key), f"there is no such key: {hint(key, [*types])}")
        if type(value) is not types[key]:
            raise file.error((name, key), f"{value!r} is not {_TYPE_WORDS[types[key]]}.")
    for key in types:
        if key not in table and key not in defaults:
            raise file.error((name, 0), f"the key {key!r} is missing.")
    return {**defaults, **table}


def _corruption(file: TomlFile, name: str, table: object) -> TableEntry:
    """One checked entry."""
    if not _NAME.fullmatch(name):  # names become files and folders
        raise file.error((name, 0), "the name of a corruption has lower-case letters, digits, '_' and '-' only.")
    if len(name) > _LONGEST:
        raise file.error((name, 0), f"the name of a corruption has at most {_LONGEST} letters.")
    if name in _TAKEN:
        raise file.error((name, 0), f"{name} means several corruptions at once: choose another name.")
    entry = _fields(file, name, table, {"kernel": str, "group": str, "standard": bool, "levels": list})
    kernel, levels = entry["kernel"], entry["levels"]
    for key, known in (("kernel", tuple(PARAMETERS)), ("group", GROUPS)):
        if entry[key] not in known:
            raise file.error((name, key), f"unknown word {entry[key]!r}: {hint(entry[key], known)}")
    if len(levels) != len(SEVERITIES):
        raise file.error((name, "levels"), f"5 levels are needed, not {len(levels)}.")
    for severity, level in zip(SEVERITIES, levels, strict=True):
        if not isinstance(level, dict):
            parameters = ", ".join(f"{it} = NUMBER" for it in PARAMETERS[kernel])
            raise file.error((name, "levels"), f"level {severity} is {level!r}: write it as {{ {parameters} }}.")
        if problem := parameter_problem(kernel, level):
            raise file.error((name, "levels"), f"level {severity}: {problem}.")
    values = tuple({key: float(value) for key, value in level.items()} for level in levels)
    return TableEntry(kernel, entry["group"], entry["standard"], values)


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
