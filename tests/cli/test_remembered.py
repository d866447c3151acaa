"""A run remembers where the images were: commands on it need no --root."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import robustcsc as rc
from robustcsc.data import load
from robustcsc.runs import Run

pytestmark = pytest.mark.usefixtures("undrawn")

Command = Callable[..., Any]


def write_digits(root: Path, split: str = "test", each: int = 2, prefix: str = "") -> None:
    """Writes some digits as a grey image folder."""
    images = load("digits", split=split)
    for label, name in enumerate(images.classes):
        for row in (images.labels == label).nonzero().flatten()[:each].tolist():
            path = root / split / f"{prefix}{name}" / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = images.pixels[row, 0].numpy()  # type: ignore[attr-defined]
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def rows(done: Any) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)
    return found


def place_of(done: Any) -> set[str]:
    return {row.get("location.root", "") for row in rows(done)}


def test_a_run_of_a_shipped_model_remembers_where_it_was_fitted(robustcsc: Command, place: Path) -> None:
    write_digits(place / "mine", "train", each=10)
    write_digits(place / "mine")
    named = "--data imagefolder --root mine"
    assert robustcsc(f"fit-lambda --run sdnet-digits {named} --noise gaussian --limit 10 --grid 0.1,0.5").code == 0
    done = robustcsc("evaluate --run sdnet-digits --data imagefolder --json")
    assert place_of(done) == {str(place / "mine")}
    assert place_of(robustcsc("evaluate --run sdnet-digits --json")) == {""}  # the digits it was trained on


def test_a_moved_run_finds_its_images_and_the_last_folder_counts(
    robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        write_digits(place / name, "train")
        write_digits(place / name)
    assert robustcsc("train resnet-digits --data imagefolder --root one --run r --epochs 1 --heldout 0").code == 0
    assert place_of(robustcsc("evaluate --run r --json")) == {str(place / "one")}
    moved = place / "elsewhere/r"
    moved.parent.mkdir()
    shutil.move("runs/r", moved)
    monkeypatch.chdir(moved.parent)
    assert place_of(robustcsc("evaluate --run r --json --remeasure")) == {str(place / "one")}
    shutil.rmtree(place / "one")
    gone = robustcsc("evaluate --run r --remeasure")
    assert (gone.code, gone.out) == (2, "")
    assert f"(the run remembers {place / 'one'}, which is gone, ROBUSTCSC_DATA is not set)" in gone.err
    assert place_of(robustcsc("evaluate --run r --root ../two --json --remeasure")) == {str(place / "two")}
    assert place_of(robustcsc("evaluate --run r --json --remeasure")) == {str(place / "two")}
    monkeypatch.setenv("ROBUSTCSC_DATA", str(place / "other machine"))
    shutil.move(place / "two", place / "other machine/two")
    assert place_of(robustcsc("evaluate --run r --json --remeasure")) == {str(place / "other machine/two")}


def test_the_environment_finds_a_data_set_to_train_on(
    robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits(place / "all/imagefolder", "train")
    write_digits(place / "all/imagefolder")
    monkeypatch.setenv("ROBUSTCSC_DATA", "all")
    assert robustcsc("train resnet-digits --data imagefolder --run r --epochs 1 --heldout 0").code == 0
    monkeypatch.delenv("ROBUSTCSC_DATA")
    assert place_of(robustcsc("evaluate --run r --json")) == {str(place / "all/imagefolder")}


def test_the_order_of_classes_is_remembered_with_the_folder(robustcsc: Command, place: Path) -> None:
    write_digits(place / "mine")
    (place / "mine/test/1").rename(place / "mine/test/10")
    common = "evaluate --run sdnet-digits --data imagefolder --json --remeasure"
    (typed,) = rows(robustcsc(f"{common} --root mine --class-order text"))
    again = robustcsc(common)
    (remembered,) = rows(again)
    assert remembered["location.class_order"] == typed["location.class_order"] == "text"
    assert again.err == ""  # nothing is said of the order once more
    (other,) = rows(robustcsc(f"{common} --class-order number"))
    assert other["images"] != typed["images"]


class First(torch.nn.Module):
    """The first ten pixels as logits."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :10]


def test_a_module_measured_on_images_of_a_folder_remembers_them(place: Path) -> None:
    write_digits(place / "mine")
    images = rc.load("imagefolder", "mine")
    rc.open("own", model=First(), images=images).evaluate()
    (found,) = Run(Path("runs/own")).places.values()
    assert (found.data, found.root, found.limit) == ("imagefolder", str(place / "mine"), None)


def test_a_refused_command_remembers_nothing(robustcsc: Command, place: Path) -> None:
    write_digits(place / "mine", prefix="number-")
    done = robustcsc("evaluate --run sdnet-digits --data imagefolder --root mine --lambda adaptive")
    assert done.code == 2
    assert not (place / "runs").exists()


def test_a_damaged_file_is_one_sentence(robustcsc: Command, place: Path) -> None:
    write_digits(place / "mine")
    assert robustcsc("evaluate --run sdnet-digits --data imagefolder --root mine").code == 0
    (place / "runs/sdnet-digits/data.json").write_text("{")
    done = robustcsc("evaluate --run sdnet-digits --data imagefolder")
    assert (done.code, done.out) == (2, "")
    assert "runs/sdnet-digits/data.json cannot be read" in done.err
    assert len(done.err.splitlines()) == 1
