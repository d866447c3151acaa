"""Cells of other libraries get their class, from formulas written here: no other library is needed."""

import importlib.util
import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from robustcsc.corruptions import load_spec
from robustcsc.corruptions.judging.candidates import Candidate, Definition

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CIFAR, IMAGENET = load_spec("cifar10_c"), load_spec("imagenet_c")
SIDE = 32
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@pytest.fixture(scope="module")
def conformance() -> ModuleType:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        spec = importlib.util.spec_from_file_location("conformance", BENCHMARKS / "conformance.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        patched.setitem(sys.modules, "conformance", module)
        spec.loader.exec_module(module)
        return module


def scenes() -> np.ndarray:
    """(8, H, W, 3) uint8, coloured clouds."""
    rng = np.random.default_rng(0)
    fields = sum(gaussian_filter(rng.standard_normal((8, SIDE, SIDE, 3)), (0, s, s, 0)) * 4 * s for s in (0.5, 2, 5))
    return (120 + 30 * np.asarray(fields)).clip(0, 255).astype(np.uint8)


CLEAN = scenes()


def cut(y: np.ndarray) -> np.ndarray:
    return (y.clip(0, 1) * 255 + 1e-6).astype(np.uint8)


def blurred(x: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest", truncate=4.0)


def jpeg(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    out = []
    for image in CLEAN:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=15)
        out.append(np.array(Image.open(file)))
    return np.stack(out)


def saturated(x: np.ndarray, gain: float) -> np.ndarray:
    v, low = x.max(3, keepdims=True), x.min(3, keepdims=True)
    s = np.where(v > 0, (v - low) / np.maximum(v, 1e-9), 0)
    return np.where(s > 0, v - (v - x) * np.clip(gain * s, 0, 1) / np.maximum(s, 1e-9), x)


def whole_pixels(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hit, salt = rng.random((*x.shape[:3], 1)) < 0.09, rng.random((*x.shape[:3], 1)) < 0.5
    return np.where(hit, salt * 1.0, x)


def single_values(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(x.shape) < 0.09, (rng.random(x.shape) < 0.5) * 1.0, x)


def displaced(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """elastic_transform of imagecorruptions at severity 3."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    out = np.empty_like(x)
    for row, image in enumerate(x):
        shifts = rng.uniform(-0.005 * SIDE, 0.005 * SIDE, (2, SIDE, SIDE))
        dy, dx = (21.25 * gaussian_filter(it, 0.01 * SIDE, truncate=3) for it in shifts)
        for channel in range(3):
            where = (rows + dy, columns + dx)
            out[row, ..., channel] = map_coordinates(image[..., channel], where, order=1, mode="reflect")
    return out


def integers(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x + np.trunc(rng.normal(0, 0.08 * 255, x.shape)) / 255


# library, corruption, severity, what it does to pixels in [0, 1] (jpeg: to levels), class, ratio of squared errors
CELLS: dict[str, tuple[str, str, int, Change, str, float | None]] = {
    "contrast": (
        *("imagecorruptions", "contrast", 3),
        lambda x, rng: x.mean((1, 2), keepdims=True) * 0.8 + 0.2 * x,
        *("same", 1.0),
    ),
    "gaussian_blur": ("imgaug", "gaussian_blur", 1, lambda x, rng: blurred(x, 1.0), "same", 1.0),
    "jpeg": ("corrupt-tta", "jpeg_compression", 3, lambda x, rng: jpeg(x, rng) / 255, "same", 1.0),
    "gaussian_noise": (
        *("torch-uncertainty", "gaussian_noise", 3),
        lambda x, rng: x + rng.normal(0, 0.18, x.shape),
        *("same in distribution", 1.0),
    ),
    "speckle_noise": (
        *("imgaug", "speckle_noise", 1),
        lambda x, rng: x + x * rng.normal(0, 0.15, x.shape),
        *("same in distribution", 1.0),
    ),
    "impulse_noise": ("imagecorruptions", "impulse_noise", 3, single_values, "same in distribution", 1.0),
    "blur that is none": ("torch-uncertainty", "gaussian_blur", 1, lambda x, rng: x, "other constants", 0.0),
    "noise cut to integers": ("albumentationsx", "gaussian_noise", 1, integers, "other constants", 0.97),
    "saturation without its offset": (
        *("kornia", "saturate", 5),
        lambda x, rng: saturated(x, 20.0),
        *("other constants", None),
    ),
    "elastic of imagecorruptions": ("imagecorruptions", "elastic_transform", 3, displaced, "other algorithm", None),
    "salt and pepper": ("kornia", "impulse_noise", 3, whole_pixels, "other algorithm", 1.0),
    "contrast towards black": ("kornia", "contrast", 1, lambda x, rng: 0.4 * x, "other algorithm", None),
}


def of(passes: list[np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(it).permute(0, 3, 1, 2).contiguous() for it in passes]


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_gets_its_class(conformance: ModuleType, name: str) -> None:
    library, corruption, severity, change, kind, ratio = CELLS[name]
    rng = np.random.default_rng(3)
    passes = [cut(change(CLEAN / 255, rng)) for _ in range(3)]
    candidate = Candidate(of([CLEAN])[0], IMAGENET, Definition("imagenet_c", corruption, severity), None)
    (known,) = (it for it in conformance.LIBRARIES if it.name == library)
    cell = conformance.judged(known, candidate, of(passes))
    assert cell.kind == kind
    if ratio is not None:
        assert cell.ratio == pytest.approx(ratio, abs=0.02)
    errors = [np.square(it.astype(float) - CLEAN).mean() for it in passes]
    assert cell.ratio == pytest.approx(np.mean(errors) / float(candidate.errors.mean()))


def test_constants_of_imagenet_c_have_several_times_the_error_of_cifar10_c(conformance: ModuleType) -> None:
    rng = np.random.default_rng(4)
    passes = of([cut(CLEAN / 255 + rng.normal(0, 0.08, CLEAN.shape)) for _ in range(2)])
    candidate = Candidate(of([CLEAN])[0], CIFAR, Definition("cifar10_c", "gaussian_noise", 1), None)
    cell = conformance.judged(conformance.LIBRARIES[1], candidate, passes)
    assert not cell.kind.startswith("same")
    assert cell.ratio == pytest.approx((0.08 / 0.04) ** 2, rel=0.05)


def test_what_fails_and_what_is_not_offered_is_told(conformance: ModuleType, tmp_path: Path) -> None:
    names = ("frost", "fog", "snow")
    clean = of([CLEAN])[0]
    candidates = [Candidate(clean, IMAGENET, Definition("imagenet_c", it, 3), None) for it in names]
    library = replace(conformance.LIBRARIES[0], name="mine")

    def kinds(told: dict[str, str]) -> list[tuple[str, str]]:
        return [(it.kind, it.note) for it in conformance.cells(library, candidates, tmp_path, told)]

    assert kinds({"": "ImportError: no wand"}) == [("does not run", "ImportError: no wand")] * 3
    assert kinds({}) == [("not offered", "")] * 3
    assert kinds({"frost-1": "", "frost-3": "ValueError: none"}) == [
        ("does not run", "ValueError: none"),
        *kinds({})[1:],
    ]
