"""Whether other libraries' corruptions are those of ImageNet-C, cell by cell.

``python benchmarks/conformance.py --images FOLDER --cache FOLDER`` makes an environment of its own for each library,
pinned, in the cache; one process in it corrupts the clean images (`conformance_adapters.py`), and all judging is here:
against the definitions of this package, which the tests tie to the original functions. A new release of a library is
judged by changing its line in `LIBRARIES`. With ``--size 32`` the errors are compared with those of CIFAR-10-C.

Classes: ``same`` (every pixel within one level), ``same in distribution``, ``other constants``, ``other algorithm``,
``does not run``, ``not offered``. Whether other images come from constants or from the algorithm cannot be seen in
pixels, nor can a small difference between random draws: that was read in the libraries' source, and is in `READ` with
the reason.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import torch
from rows import RESULTS, write_csv
from torch import Tensor

from robustcsc.corruptions.judging.candidates import Candidate, Definition, Match, squared_errors
from robustcsc.data.decode import as_array, decode, evaluation_view
from robustcsc.measurements.severity_tables import Spec, load_spec

SEVERITIES = (1, 3, 5)
ADAPTERS = Path(__file__).with_name("conformance_adapters.py")
NUMERICS = ("numpy==2.4.6", "scipy==1.17.1", "scikit-image==0.26.0")
OLD_NUMERICS = ("numpy==1.26.4", "scipy==1.11.4", "scikit-image==0.20.0", "opencv-python-headless<4.9")
OLD_TOOLS = "setuptools<81"  # the last with pkg_resources


@dataclass(frozen=True)
class Library:
    """A library, what is installed with it, and what it is pinned to.

    Attributes:
        name: Its name on the package index.
        version: Its version.
        beside: What its environment holds beside it and what it asks for.
        borrows: Whether it takes PyTorch, and what else it does not pin, from the environment of this script.
        alone: Whether it is installed without what it asks for, which no longer exists.
        exact: Whether it means to be ImageNet-C; else the nearest transforms are compared.
    """

    name: str
    version: str
    beside: tuple[str, ...] = ()
    borrows: bool = False
    alone: bool = False
    exact: bool = True


LIBRARIES = (
    Library("imagenet-c", "0.0.3", (*NUMERICS, OLD_TOOLS, "opencv-python-headless", "wand", "pillow"), alone=True),
    Library("imagecorruptions", "1.1.2", (*NUMERICS, OLD_TOOLS, "numba")),
    Library("imgaug", "0.4.0", (*OLD_NUMERICS, OLD_TOOLS, "imagecorruptions==1.1.2")),
    Library("corrupt-tta", "0.1.7", NUMERICS),
    Library("torch-uncertainty", "0.13.0", ("kornia==0.9.0", *NUMERICS[:2], "opencv-python-headless"), borrows=True),
    Library("albumentationsx", "2.5.1", ("opencv-python-headless",), borrows=True, exact=False),
    Library("kornia", "0.9.0", borrows=True, exact=False),
)

CONSTANTS, ALGORITHM = "other constants", "other algorithm"
READ = {
    ("imagecorruptions", "snow"): (ALGORITHM, "rounds the layer of snow where the original truncates"),
    ("imagecorruptions", "frost"): (CONSTANTS, "enlarges the photographs by 1.1 before it cuts"),
    ("imagecorruptions", "elastic_transform"): (ALGORITHM, "no affine map, smooths with 1 % of the side"),
    ("imgaug", "snow"): (ALGORITHM, "as imagecorruptions"),
    ("imgaug", "frost"): (CONSTANTS, "as imagecorruptions"),
    ("imgaug", "elastic_transform"): (ALGORITHM, "as imagecorruptions"),
    ("corrupt-tta", "glass_blur"): (ALGORITHM, "exchanges pixels where the original copies, in the other order"),
    ("corrupt-tta", "motion_blur"): (ALGORITHM, "another kernel; severities 2, 3 and 4 are one"),
    ("corrupt-tta", "snow"): (ALGORITHM, "another motion blur"),
    ("corrupt-tta", "frost"): (CONSTANTS, "draws all six photographs"),
    ("corrupt-tta", "fog"): (CONSTANTS, "one decay of 3 at every severity"),
    ("corrupt-tta", "elastic_transform"): (CONSTANTS, "224 where the original has 244"),
    ("corrupt-tta", "spatter"): (ALGORITHM, "another effect"),
    ("torch-uncertainty", "glass_blur"): (ALGORITHM, "exchanges all pixels at once, over other distances"),
    ("torch-uncertainty", "motion_blur"): (ALGORITHM, "box kernel, its length the original's sigma, black border"),
    ("torch-uncertainty", "snow"): (ALGORITHM, "another motion blur"),
    ("torch-uncertainty", "frost"): (ALGORITHM, "a part of 8 to 100 % of a photograph, resized"),
    ("torch-uncertainty", "brightness"): (ALGORITHM, "multiplies where the original adds to V of HSV"),
    ("torch-uncertainty", "contrast"): (ALGORITHM, "towards the mean of grey, not of each channel"),
    ("torch-uncertainty", "elastic_transform"): (CONSTANTS, "224 where the original has 244; kernel cut at 1.3 sigma"),
    ("torch-uncertainty", "gaussian_blur"): (CONSTANTS, "kernel of 4 sigma // 2 pixels: severity 1 is the clean image"),
    ("torch-uncertainty", "saturate"): (ALGORITHM, "blends with grey; less saturation at every severity"),
    ("albumentationsx", "gaussian_noise"): (CONSTANTS, "noise cut to integers towards zero"),
    ("albumentationsx", "shot_noise"): (ALGORITHM, "counts photons in linear light, which darkens"),
    ("albumentationsx", "impulse_noise"): (ALGORITHM, "whole pixels, where the original takes single values"),
    ("albumentationsx", "glass_blur"): (ALGORITHM, "rounds where the original truncates: one level brighter"),
    ("albumentationsx", "motion_blur"): (ALGORITHM, "box kernel"),
    ("albumentationsx", "zoom_blur"): (ALGORITHM, "another interpolation"),
    ("albumentationsx", "snow"): (ALGORITHM, "no counterpart; its defaults"),
    ("albumentationsx", "fog"): (ALGORITHM, "no counterpart; its defaults"),
    ("albumentationsx", "brightness"): (ALGORITHM, "adds to R, G and B, not to V of HSV"),
    ("albumentationsx", "contrast"): (ALGORITHM, "towards the mean of grey, not of each channel"),
    ("albumentationsx", "elastic_transform"): (ALGORITHM, "no counterpart; its defaults, a warped grid"),
    ("albumentationsx", "pixelate"): (ALGORITHM, "OpenCV's area and nearest pixels"),
    ("albumentationsx", "jpeg_compression"): (ALGORITHM, "red and blue exchanged in the encoder"),
    ("albumentationsx", "speckle_noise"): (ALGORITHM, "uniform where the original is Gaussian"),
    ("albumentationsx", "gaussian_blur"): (CONSTANTS, "kernel cut near 3 sigma, another border"),
    ("albumentationsx", "spatter"): (ALGORITHM, "refuses the strengths of severities 4 and 5"),
    ("albumentationsx", "saturate"): (ALGORITHM, "blends with grey, not S of HSV"),
    ("kornia", "impulse_noise"): (ALGORITHM, "whole pixels, where the original takes single values"),
    ("kornia", "motion_blur"): (ALGORITHM, "box kernel, black border"),
    ("kornia", "snow"): (ALGORITHM, "no counterpart; its defaults"),
    ("kornia", "brightness"): (ALGORITHM, "adds to R, G and B, not to V of HSV"),
    ("kornia", "contrast"): (ALGORITHM, "towards black"),
    ("kornia", "elastic_transform"): (ALGORITHM, "no counterpart; its defaults, no affine map"),
    ("kornia", "jpeg_compression"): (ALGORITHM, "a differentiable approximation"),
    ("kornia", "gaussian_blur"): (ALGORITHM, "another border"),
    ("kornia", "saturate"): (CONSTANTS, "cannot add to S, as severities 4 and 5 do"),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One corruption of one library at one severity.

    Attributes:
        kind: One of the six classes.
        ratio: Mean squared error over that of the original; None if there are no images.
        ratio_se: Its standard error over passes.
        largest: Largest difference of a pixel in levels, where neither draws at random.
        mean: Mean absolute difference, likewise.
        passes: How often the library corrupted the images.
        note: The reason, or the error.
    """

    library: str
    version: str
    size: int
    corruption: str
    severity: int
    kind: str
    ratio: float | None = None
    ratio_se: float | None = None
    largest: int | None = None
    mean: float | None = None
    passes: int = 0
    note: str = ""


def environment(library: Library, cache: Path) -> Path:
    """Returns the Python of an environment that holds a library, made on the first call."""
    pinned = f"{library.name}=={library.version}"
    digest = hashlib.sha256(repr((library.beside, sys.version)).encode()).hexdigest()[:8]
    folder = cache / f"{library.name}-{library.version}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        if library.borrows:
            (site,) = folder.glob("lib/python*/site-packages")
            (site / "borrowed.pth").write_text(str(Path(torch.__file__).parents[1]))
        install = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-compile"]
        subprocess.run([*install, *library.beside, *(() if library.alone else (pinned,))], check=True)
        if library.alone:
            subprocess.run([*install, "--no-deps", pinned], check=True)
        (folder / "complete").touch()
    return python


def answers(library: Library, python: Path, clean: Tensor, spec: Spec, folder: Path, passes: int) -> dict[str, str]:
    """Lets a library corrupt images into a folder, in one thread, and returns what happened, by cell."""
    np.save(folder / "clean.npy", clean.permute(0, 2, 3, 1).numpy())
    levels = {name: entry.levels for name, entry in spec.corruptions.items()}
    plan = {"levels": levels, "severities": SEVERITIES, "passes": passes, "more": 2}
    (folder / "plan.json").write_text(json.dumps(plan))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = ["nice", "-n", "3", python, ADAPTERS, library.name, folder]
    subprocess.run(command, check=True, env=os.environ | threads, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    told: dict[str, str] = json.loads((folder / "answers.json").read_text())
    return told


def judged(library: Library, candidate: Candidate, passes: Sequence[Tensor]) -> Cell:
    """Returns what corrupted images of a library are, beside the original definition."""
    its = candidate.definition
    errors = torch.stack([squared_errors(candidate.clean, it).mean() for it in passes])
    own = candidate.errors.mean(dim=1)
    ratio = float(errors.mean() / own.mean())
    scatter = sum(float(it.var()) / len(it) for it in (errors, own) if len(it) > 1) ** 0.5 / float(own.mean())
    largest, mean = None, None
    if candidate.deterministic:
        difference = (next(candidate.images()).to(torch.int16) - passes[0].to(torch.int16)).abs()
        largest, mean = int(difference.max()), float(difference.double().mean())
    found = candidate.compare(*passes)
    unread = (ALGORITHM, "its source was not read")
    if its.table != "imagenet_c":
        unread = (CONSTANTS, "those of ImageNet-C")
    kind, note = READ.get((library.name, its.corruption), unread)
    if found is not None and found[0] is not Match.ALIKE:
        kind, note = "same", ""
    elif found is not None and (library.name, its.corruption) in READ:
        note = f"{note}: read in the source, too little to be seen on these images"
    elif found is not None:
        kind, note = "same in distribution", ""
    place = (library.name, library.version, candidate.clean.shape[2], its.corruption, its.severity)
    return Cell(*place, kind, ratio, scatter, largest, mean, len(passes), note)


def cells(library: Library, candidates: Sequence[Candidate], folder: Path, told: dict[str, str]) -> Iterator[Cell]:
    """Yields the cells of a library from what it left in a folder."""
    offered = {key.rsplit("-", 1)[0] for key in told}
    for candidate in candidates:
        its = candidate.definition
        place = (library.name, library.version, candidate.clean.shape[2], its.corruption, its.severity)
        error = told.get("", told.get(f"{its.corruption}-{its.severity}", ""))
        if error:
            yield Cell(*place, "does not run", note=error)
        elif its.corruption not in offered:
            yield Cell(*place, "not offered")
        else:
            passes = torch.from_numpy(np.load(folder / f"{its.corruption}-{its.severity}.npy")).permute(0, 1, 4, 2, 3)
            yield judged(library, candidate, list(passes.contiguous()))


def clean_images(folder: Path, size: int, count: int) -> Tensor:
    """Returns the first images of a folder in the order of their paths, as networks see them."""
    suffixes = (".jpg", ".jpeg", ".png")
    files = sorted(it for it in folder.rglob("*") if it.suffix.lower() in suffixes)
    chosen = files[:: max(1, len(files) // count)][:count] if size < 96 else files[:count]
    views = [as_array(evaluation_view(decode(it).convert("RGB"), size)) for it in chosen]
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).contiguous()


def earlier(path: Path) -> list[Cell]:
    """Returns the cells that were written to a file before, none if it does not exist."""
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    return [
        msgspec.convert({k: v or ("" if k == "note" else None) for k, v in row.items()}, Cell, strict=False)
        for row in rows
    ]


SIGNS = {
    "same": "=",
    "same in distribution": "d",
    CONSTANTS: "K",
    ALGORITHM: "A",
    "does not run": "X",
    "not offered": "-",
}


def markdown(found: Sequence[Cell]) -> str:
    """Returns the table of all libraries, and how many corruptions are of which class by their worst severity."""
    libraries = list(dict.fromkeys((it.library, it.version) for it in found))
    by_place = {(it.library, it.corruption, it.severity): it for it in found}
    head = ["corruption", *(" ".join(it) for it in libraries)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for corruption in dict.fromkeys(it.corruption for it in found):
        row = [_cell_words([by_place[name, corruption, it] for it in SEVERITIES]) for name, _ in libraries]
        lines.append(f"| {' | '.join([corruption, *row])} |")
    lines += ["", f"| library | {' | '.join(SIGNS)} |", f"|{'---|' * (len(SIGNS) + 1)}"]
    for name, release in libraries:
        worst = Counter(
            max((by_place[name, it, severity].kind for severity in SEVERITIES), key=[*SIGNS].index)
            for it in dict.fromkeys(it.corruption for it in found)
        )
        lines.append(f"| {name} {release} | {' | '.join(str(worst[it]) for it in SIGNS)} |")
    return "\n".join(lines) + "\n"


def _cell_words(of: Sequence[Cell]) -> str:
    signs = [SIGNS[it.kind] for it in of]
    sign = signs[0] if len(set(signs)) == 1 else "/".join(signs)
    ratios = " / ".join("x" if it.ratio is None else f"{it.ratio:.2f}" for it in of)
    return sign if set(signs) <= {"=", "X", "-"} else f"{sign} {ratios}"


def main() -> None:
    """Judges the chosen libraries and writes a CSV and a Markdown file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of clean images")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "robustcsc-conformance")
    parser.add_argument("--libraries", default=",".join(it.name for it in LIBRARIES))
    parser.add_argument("--size", type=int, default=224, choices=(32, 224))
    parser.add_argument("--count", type=int, help="images; 8 of 224 pixels, 200 of 32")
    parser.add_argument("--passes", type=int, default=2, help="of noise; twice as many of what has few draws an image")
    parser.add_argument("--frost-root", type=Path, help="folder of the original photographs of frost")
    parser.add_argument("--out", type=Path, default=RESULTS / "conformance")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    small = chosen.size == 32
    clean = clean_images(chosen.images, chosen.size, chosen.count or (200 if small else 8))
    spec, asked = (load_spec(it, chosen.frost_root) for it in ("cifar10_c" if small else "imagenet_c", "imagenet_c"))
    candidates = [
        Candidate(clean, spec, Definition(spec.name, name, severity), None)
        for name in spec.corruptions
        for severity in SEVERITIES
    ]
    name = f"conformance-{chosen.size}"
    names = chosen.libraries.split(",")
    found = [it for it in earlier(chosen.out / f"{name}.csv") if it.library not in names]
    for library in (it for it in LIBRARIES if it.name in names):
        python = environment(library, chosen.cache)
        with tempfile.TemporaryDirectory() as folder:
            told = answers(library, python, clean, asked, Path(folder), chosen.passes)
            found += cells(library, candidates, Path(folder), told)
        found.sort(key=lambda it: [one.name for one in LIBRARIES].index(it.library))
        write_csv(chosen.out / f"{name}.csv", [asdict(it) for it in found])
        about = f"{len(clean)} images of {chosen.size} pixels against {spec.name}, {datetime.now(UTC):%Y-%m-%d}."
        (chosen.out / f"{name}.md").write_text(f"{about}\n\n{markdown(found)}")
        print(library.name, Counter(it.kind for it in found if it.library == library.name), flush=True)


if __name__ == "__main__":
    main()
