"""Image folders as people have them: numbered classes, nested files, and corrupted copies that are read back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.data import folder as folder_module

Command = Callable[..., Any]
Contents = Callable[[], dict[str, bytes | None]]

FACTORY = """
import torch
from torch import nn

class Grey(nn.Module):
    # Answers the step of 20 grey levels that the mean of an image is nearest to.
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, images):
        steps = images.mean((1, 2, 3))[:, None] * 12.75
        return self.bias - 10 * (steps - torch.arange(4.0)) ** 2
"""


def without_guest(err: str) -> str:
    """What was noted, but for the line on the model."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("greys:Grey on 4 clean"))


GREY = "--model greys:Grey --weights grey.pth --data imagefolder"
#: Four classes in the order of their numbers; as text they are 0, 10, 2, 7.
CLASSES = ("0", "2", "7", "10")


@pytest.fixture(autouse=True)
def model(place: Path) -> Iterator[None]:
    """A model of the user's own that is right on images of the grey level 20 k of class k."""
    (place / "greys.py").write_text(FACTORY)
    torch.save({"bias": torch.zeros(4)}, place / "grey.pth")
    yield
    sys.modules.pop("greys", None)


def write(path: Path, level: int, texture: int = 0) -> None:
    """A 16x16 colour image of a mean grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.where(np.arange(16) % 2, level + texture, level - texture).clip(0, 255).astype(np.uint8)
    Image.fromarray(np.broadcast_to(stripes[:, None], (16, 16, 3)).copy()).save(path)


def counts(done: Any) -> list[tuple[int, int]]:
    """Correct and total of the rows that a command prints."""
    assert done.code == 0, done.err
    return [(row["met"], row["total"]) for row in json.loads(done.out)]


def test_numbered_classes_are_the_labels_of_foreign_weights(robustcsc: Command, place: Path) -> None:
    for label, name in enumerate(CLASSES):
        write(place / f"photos/val/{name}/1.png", 20 * label)
    evaluate = f"evaluate {GREY} --root photos --json"
    by_number = robustcsc(f"{evaluate} --run number")
    assert counts(by_number) == [(4, 4)]
    assert "The 4 class folders (0, 2, 7, 10) in photos/val are ordered by number" in by_number.err
    assert by_number.err.count("--class-order text") == 1
    by_text = robustcsc(f"{evaluate} --run text --class-order text")
    assert counts(by_text) == [(1, 4)]  # of 0, 10, 2, 7 only the first is in its place
    assert without_guest(by_text.err) == ""
    assert counts(robustcsc(f"{evaluate} --run text")) == [(1, 4)]  # the run knows, also where its model is named
    assert without_guest(robustcsc(f"{evaluate} --run number").err) == ""  # once is enough
    again = robustcsc("evaluate --model greys:Grey --run text --json")
    assert (counts(again), without_guest(again.err)) == ([(1, 4)], "")
    assert counts(robustcsc("evaluate --model greys:Grey --run text --class-order number --json")) == [(4, 4)]
    refused = robustcsc("evaluate --model greys:Grey --run text --data digits --class-order number")
    assert (refused.code, refused.out) == (2, "")
    assert "digits has no class folders: leave --class-order out." in refused.err


def test_a_training_remembers_its_order_of_classes(robustcsc: Command, place: Path) -> None:
    for split, count in (("train", 8), ("test", 3)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                write(place / f"photos/{split}/{name}/{number}.png", 60 * label + number)
    train = "train resnet8 --data imagefolder --root photos --epochs 1 --heldout 0.25"
    noted = robustcsc(f"{train} --run number")
    assert (noted.code, noted.err.count("ordered by number")) == (0, 1)
    assert robustcsc(f"{train} --run text --class-order text").code == 0
    prints = {}
    for run in ("number", "text"):
        done = robustcsc(f"evaluate --run {run} --json")
        assert (done.code, done.err) == (0, "")  # the run says the order
        (row,) = json.loads(done.out)
        assert row["location.class_order"] == run
        prints[run] = row["images"]
        explicit = robustcsc(f"evaluate --run {run} --class-order {run} --json")
        assert json.loads(explicit.out) == [row]
    assert prints["number"] != prints["text"]
    done = robustcsc("attack --run number --from text --steps 1")
    assert (done.code, done.out) == (2, "")
    assert "--from text: resnet8 was made for another order of classes than resnet8, choose another run." in done.err


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ("bare", ".\n"),
        ("photos/val", "; for both splits of {place}/photos, type --root {place}/photos.\n"),
    ],
)
def test_a_tree_of_classes_alone_is_noted_once(root: str, told: str, robustcsc: Command, place: Path) -> None:
    for label, name in enumerate(CLASSES):
        write(place / root / name / "1.png", 20 * label)
    done = robustcsc(f"evaluate {GREY} --root {root} --run r --class-order number --json")
    assert counts(done) == [(4, 4)]
    taken = f"{root} has no folders train and test: it is read as the test images, 4 class folders (0, 2, 7, 10)"
    assert without_guest(done.err) == taken + told.format(place=place)


@pytest.mark.parametrize(
    "command", [f"evaluate {GREY}", "train resnet8 --data imagefolder", "data corrupt --out o --data imagefolder"]
)
@pytest.mark.parametrize(("root", "right"), [("mine", "mine/photos"), ("mine/photos/test/2", "{place}/mine/photos")])
def test_a_root_on_another_level_is_refused_with_the_right_one(
    root: str, right: str, command: str, robustcsc: Command, place: Path, contents: Contents
) -> None:
    for split in ("train", "test"):
        for name in CLASSES:
            write(place / f"mine/photos/{split}/{name}/1.png", 0)
    before = contents()
    done = robustcsc(f"{command} --root {root}")
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(f"type --root {right.format(place=place)}.\n")
    assert len(done.err.splitlines()) == 1
    after = contents()
    assert {path for path in after if "__pycache__" not in path} == set(before)


@pytest.mark.parametrize(
    ("nested", "streamed"),
    [("{0}/{1}.png", True), ("{0}/session{1}/0.png", False), ("{0}/a/b/{1}.png", True)],
)
@pytest.mark.parametrize("form", ["cifar-c", "imagenet-c", "imagenet-c --png"])
def test_what_is_written_is_read_with_the_counts_of_its_files(
    form: str, nested: str, streamed: bool, robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if streamed:
        monkeypatch.setattr(folder_module, "MEMORY_LIMIT_BYTES", 0)
    for label, name in enumerate(CLASSES):
        for number in range(3):
            write(place / "photos/test" / nested.format(name, number), 20 * label + 3 * number, 9)
    chosen = "--root photos --readers 0"
    severities = "" if form == "cifar-c" else "--severities 2,5"
    written = robustcsc(
        f"data corrupt --data imagefolder {chosen} --corruptions gaussian_noise,shot_noise --seed 3 --out files "
        f"--format {form} {severities}"
    )
    assert written.code == 0, written.err
    expected = []
    for name in ("gaussian_noise", "shot_noise"):
        for severity in (2, 5):
            if form == "cifar-c":
                rows = np.load(place / f"files/{name}.npy").reshape(5, 12, 16, 16, 3)[severity - 1]
                images = [(row // 3, rows[row]) for row in range(12)]
            else:
                files = [path for path in (place / f"files/{name}/{severity}").rglob("*") if path.is_file()]
                images = [
                    (CLASSES.index(path.relative_to(place).parts[3]), np.asarray(Image.open(path))) for path in files
                ]
            expected.append((sum(label == min(3, round(image.mean() / 20)) for label, image in images), len(images)))
    sweep = f"sweep {GREY} {chosen} --run r --corruptions gaussian_noise,shot_noise --severities 2,5 --json"
    read = robustcsc(f"{sweep} --corrupted-root files")
    assert counts(read)[1:] == expected
    assert any(correct < total for correct, total in expected)  # so that a permutation would show
    if form != "imagenet-c":
        assert counts(robustcsc(f"{sweep} --seed 3"))[1:] == expected
    part = robustcsc(f"{sweep} --corrupted-root files --limit 4")
    assert [total for _, total in counts(part)] == [4] * 5


def test_a_damaged_file_is_missing_from_both_trees(
    robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "MEMORY_LIMIT_BYTES", 0)
    for label, name in enumerate(CLASSES):
        for number in range(3):
            write(place / f"photos/test/{name}/{number}.png", 20 * label)
    (place / "photos/test/7/1.png").write_bytes(b"no image")
    chosen = "--root photos --readers 0"
    corrupt = "--corruptions gaussian_noise --severities 1"
    done = robustcsc(f"data corrupt --data imagefolder {chosen} {corrupt} --format imagenet-c --out files")
    assert (done.code, len(list((place / "files").rglob("*.JPEG")))) == (0, 11)
    read = robustcsc(f"sweep {GREY} {chosen} --run r {corrupt} --corrupted-root files --json")
    assert counts(read) == [(11, 11), (11, 11)]
    assert "photos/test/7/1.png" in read.err
    (place / "files/gaussian_noise/1/2/0.JPEG").unlink()  # of an image that can be read
    done = robustcsc(f"sweep {GREY} {chosen} --run r {corrupt} --corrupted-root files --remeasure")
    assert (done.code, done.out) == (2, "")
    assert "lacks 2 of the 12 images of photos, such as 2/0.png" in done.err


def test_two_files_of_one_name_are_two_images(robustcsc: Command, place: Path) -> None:
    for root in ("photos/test", "files/gaussian_noise/1"):
        for label, name in enumerate(CLASSES):
            write(place / f"{root}/{name}/a.bmp", 20 * ((label + 1) % 4))  # wrong
            write(place / f"{root}/{name}/a.png", 20 * label)  # right
    typed = f"{GREY} --root photos --corruptions gaussian_noise --severities 1"
    assert counts(robustcsc(f"sweep {typed} --run r --corrupted-root files --json")) == [(4, 8), (4, 8)]
    done = robustcsc("data corrupt --data imagefolder --root photos --corruptions fog --format imagenet-c --out c")
    assert (done.code, done.out) == (2, "")
    assert "Two images are called 0/a" in done.err


def test_what_a_partial_export_holds_can_be_typed(robustcsc: Command, place: Path) -> None:
    for label, name in enumerate(CLASSES):
        write(place / f"photos/test/{name}/1.png", 20 * label)
    corrupt = "--corruptions fog,shot_noise --severities 2,4"
    robustcsc(f"data corrupt --data imagefolder --root photos {corrupt} --format imagenet-c --out files")
    sweep = f"sweep {GREY} --root photos --run r --corrupted-root files --json"
    done = robustcsc(f"{sweep} --corruptions fog")
    assert done.code == 2
    assert "fog has no folder for severity 1: it holds 2, 4; choose with --severities 2,4.\n" in done.err
    done = robustcsc(f"{sweep} --corruptions snow --severities 2")
    advice = done.err.rstrip(".\n").partition("choose with ")[2]
    assert (done.code, advice) == (2, "--corruptions fog,shot_noise --severities 2,4")
    assert [total for _, total in counts(robustcsc(f"{sweep} {advice}"))] == [4] * 5
    exported = robustcsc(f"{sweep} --severities 2,4")  # without --corruptions: those that were exported
    assert [total for _, total in counts(exported)] == [4] * 5
    (place / "files/robustcsc.json").unlink()
    done = robustcsc(f"{sweep} --severities 2,4")  # of a published tree, a missing corruption is one that was lost
    assert "has no corruption 'gaussian_noise': it holds fog, shot_noise; choose with --corruptions" in done.err


def test_arrays_of_another_order_of_classes_are_refused(robustcsc: Command, place: Path) -> None:
    for label, name in enumerate(CLASSES):
        write(place / f"photos/test/{name}/1.png", 20 * label)
    chosen = "--root photos --corruptions gaussian_noise"
    assert robustcsc(f"data corrupt --data imagefolder {chosen} --format cifar-c --out files").code == 0
    sweep = f"sweep {GREY} {chosen} --corrupted-root files --json"
    assert counts(robustcsc(f"{sweep} --run r")) == [(4, 4)] * 6
    done = robustcsc(f"{sweep} --run s --class-order text")  # as many images of each class: the labels are the same
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("type --class-order number.\n")
