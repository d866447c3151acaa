"""`robustcsc corruptions --preview`, and corruptions that images do not suit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from robustcsc.corruptions import KERNELS, load_spec
from robustcsc.errors import DataError
from robustcsc.measurements.kernels import PARAMETERS

Command = Callable[..., Any]
Contents = Callable[[], dict[str, bytes | None]]


@pytest.fixture
def photograph(place: Path) -> Path:
    """A grey image that is not square."""
    path = place / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)).save(path)
    return path


def test_a_preview_has_a_row_for_every_corruption(robustcsc: Command, photograph: Path, place: Path) -> None:
    done = robustcsc("corruptions --preview photo.jpg")
    assert (done.code, done.out) == (0, "cifar10_c-preview.png\n")
    with Image.open(place / "cifar10_c-preview.png") as sheet:
        assert sheet.format == "PNG"
        rows = len(load_spec("cifar10_c").corruptions)
        assert 100 * rows < sheet.height < 100 * rows + 30  # tiles of 3 * 32 pixels, 4 between them, and a line of text
    assert json.loads(robustcsc("corruptions --preview photo.jpg --out a.png --json").out) == {"preview": "a.png"}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("corruptions --preview none.jpg", "none.jpg is not a readable image."),
        ("corruptions --preview text.png", "text.png is not a readable image."),
        ("corruptions --preview photo.jpg --out sheet.pdf", "its name must end in .png."),
        (
            "corruptions --preview photo.jpg --out nowhere/a.png",
            "--out nowhere/a.png cannot be written to (there is no",
        ),
        ("corruptions --preview photo.jpg --out text.png/a.png", "cannot be written to (text.png is a file): choose"),
        ("corruptions --out a.png", "give an image with --preview IMAGE."),
        ("corruptions cifar_c --preview photo.jpg", "Unknown severity table 'cifar_c'"),
    ],
)
def test_previews_that_cannot_be_made_are_told(
    typed: str, expected: str, robustcsc: Command, photograph: Path, place: Path, contents: Contents
) -> None:
    (place / "text.png").write_text("no image")
    before = contents()
    done = robustcsc(typed)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert expected in done.err
    assert done.err.count("\n") == 1
    assert contents() == before


def tint(images: Tensor, seeds: Tensor, *, share: float) -> Tensor:
    if images.shape[1] != 3:
        raise DataError("tint needs colour images, not grey ones.")
    return images


@pytest.mark.parametrize(
    "typed",
    [
        "sweep --run sdnet-digits --spec own.toml --corruptions all",
        "data corrupt --data digits --spec own.toml --corruptions all --out files",
    ],
)
def test_a_corruption_that_images_do_not_suit_is_told_before_anything_is_measured(
    typed: str, robustcsc: Command, place: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KERNELS, "tint", tint)
    monkeypatch.setitem(PARAMETERS, "tint", ("share",))
    levels = ", ".join(["{ share = 0.5 }"] * 5)
    entries = "".join(
        f'[{name}]\nkernel = "{kernel}"\ngroup = "noise"\nstandard = true\nlevels = [{levels}]\n'
        for name, kernel in (("salt", "impulse_noise"), ("tint", "tint"))
    )
    (place / "own.toml").write_text(f'[benchmark]\nimage_size = 8\nsource = "here"\n{entries}')
    before = contents()
    done = robustcsc(typed)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1] == (
        "Error: tint needs colour images, not grey ones; leave out tint: --corruptions salt."
    )
    assert contents() == before

    done = robustcsc(typed.replace(" --corruptions all", ""))
    assert done.code == 0
    assert "Left out: tint needs colour images, not grey ones." in done.err
    assert "tint" not in done.out


def test_photographs_of_frost_are_for_generated_frost(robustcsc: Command, place: Path) -> None:
    (place / "files").mkdir()
    done = robustcsc("sweep --corruptions noise --frost-root photos --corrupted-root files")
    assert (done.code, done.out) == (2, "")
    assert "--frost-root is for generated frost: leave it out where --corrupted-root is given." in done.err
    assert [path.name for path in place.iterdir()] == ["files"]
