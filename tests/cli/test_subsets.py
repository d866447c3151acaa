"""Models of all classes of ImageNet, or of a list, on folders of some of them."""

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

from robustcsc.measurements.classes import imagenet_classes

Command = Callable[..., Any]

FACTORY = """
import torch
from torch import nn

class Grey(nn.Module):
    # Answers 4 times the mean grey level of an image.
    def __init__(self, logits=1000):
        super().__init__()
        self.register_buffer("levels", torch.arange(float(logits)))
        self.bias = nn.Parameter(torch.zeros(logits))

    def forward(self, images):
        return self.bias - (images.mean((1, 2, 3))[:, None] * 1020 - self.levels) ** 2
"""
GREY = "--model greys:Grey --weights grey.pth --data imagefolder --root photos"
#: Logit 0, 281, 388 and 999.
SYNSETS = ("n01440764", "n02123045", "n02510455", "n15075141")


@pytest.fixture(autouse=True)
def model(place: Path) -> Iterator[None]:
    """A model of the user's own with a logit for each quarter of a grey level."""
    (place / "greys.py").write_text(FACTORY)
    save(place / "grey.pth", 1000)
    yield
    sys.modules.pop("greys", None)


def save(path: Path, logits: int) -> None:
    """The weights of a model of so many logits."""
    torch.save({"bias": torch.zeros(logits), "levels": torch.arange(float(logits))}, path)


def write(path: Path, code: int) -> None:
    """An 8x8 grey image whose mean level is a quarter of a code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    level, quarters = divmod(code, 4)
    pixels = np.full((8, 8), level, np.uint8)
    pixels[: 2 * quarters] += 1
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(place: Path) -> Path:
    """Two images of each synset: one that all logits answer right, and one that those of the folder do."""
    for synset in SYNSETS:
        code = list(imagenet_classes()).index(synset)
        write(place / f"photos/val/{synset}/a.png", code)
        write(place / f"photos/val/{synset}/b.png", abs(code - 40))
    return place / "photos"


def rows(done: Any) -> list[dict[str, Any]]:
    """What a command prints."""
    assert done.code == 0, done.err
    return list(json.loads(done.out))


def counts(done: Any) -> list[tuple[int, int]]:
    """Correct and total of the rows that a command prints."""
    return [(row["met"], row["total"]) for row in rows(done)]


@pytest.mark.usefixtures("photos")
def test_synsets_are_answered_among_all_logits_or_those_of_the_folder(robustcsc: Command) -> None:
    every = robustcsc(f"evaluate {GREY} --run r --json")
    assert counts(every) == [(4, 8)]
    note = (
        "Answers are chosen from all 1000 classes of the model, of which photos has 4; --answers folder restricts them "
        "to these, as is published for ImageNet-A and ImageNet-R.\n"
    )
    assert every.err.startswith(f"{note}greys:Grey on 8 clean images: 4 right, ")
    folder = robustcsc("evaluate --model greys:Grey --run r --answers folder --json")
    assert counts(folder) == [(8, 8)]
    only = "Answers are chosen from the 4 classes of photos only, not from all 1000.\n"
    assert folder.err.startswith(f"{only}greys:Grey on 8 clean images: 8 right, ")
    (one,), (other,) = rows(every), rows(folder)
    assert one["images"] != other["images"]  # the choice is part of the key: neither is taken for the other
    assert (one["location.answers"], other["location.answers"]) == ("all", "folder")
    assert counts(robustcsc("evaluate --model greys:Grey --run r --answers all --json")) == [(4, 8)]


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("answers", "clean", "left"),
    # a step of 1/255 moves the answer by 4 logits, and the classes of the folder are at least 107 apart
    [("all", (4, 8), 0), ("folder", (8, 8), 8)],
)
def test_attacks_and_noise_know_the_labels(answers: str, clean: tuple[int, int], left: int, robustcsc: Command) -> None:
    run = f"{GREY} --run r --answers {answers} --json"
    attack = "pgd:steps=3,pgd:steps=3:loss=dlr,apgd-t:steps=5"
    assert counts(robustcsc(f"attack {run} --attack {attack} --epsilon 1/255")) == [clean, *[(left, 8)] * 3]
    noise = rows(robustcsc(f"random-noise {run} --rho 0 --seeds 1"))  # changes no answer
    assert [(row["metric"], row["met"], row["total"]) for row in noise] == [
        ("fooling rate", 0, 8),
        ("fooling rate of correct images", 0, clean[0]),
    ]


@pytest.mark.usefixtures("photos")
def test_saved_images_are_scored_among_the_classes_they_were_made_for(robustcsc: Command) -> None:
    run = "--model greys:Grey --run r"
    save = f"attack {GREY} --run r --answers folder --steps 2 --epsilon 1/255 --save kept.safetensors --json"
    assert counts(robustcsc(save)) == [(8, 8), (8, 8)]
    assert counts(robustcsc(f"attack {run} --answers folder --score kept.safetensors --json")) == [(8, 8)]
    for other in ("", "--answers folder --limit 4"):
        done = robustcsc(f"attack {run} --score kept.safetensors {other}")
        assert (done.code, done.out) == (2, "")
        assert "kept.safetensors holds " in done.err


def test_corrupted_files_are_paired_by_their_folders(photos: Path, robustcsc: Command) -> None:
    shifted = photos.parent / "files/fog/3"
    for synset in SYNSETS:
        code = list(imagenet_classes()).index(synset)
        write(shifted / synset / "a.png", abs(code - 3))  # wrong among all, right in the folder
        write(shifted / synset / "b.png", code)
    sweep = f"sweep {GREY} --run r --corrupted-root files --corruptions fog --severities 3 --json"
    assert counts(robustcsc(sweep)) == [(4, 8), (4, 8)]
    assert counts(robustcsc(f"{sweep} --answers folder")) == [(8, 8), (8, 8)]
    read = f"sweep {GREY} --run r --corrupted-root written --corruptions contrast --severities 1 --json"
    chosen = "--root photos --corruptions contrast --severities 1"
    assert robustcsc(f"data corrupt --data imagefolder {chosen} --format imagenet-c --png --out written").code == 0
    generated = robustcsc(f"sweep {GREY} --run r --corruptions contrast --severities 1 --json")
    assert counts(robustcsc(read)) == counts(generated)


@pytest.mark.usefixtures("photos")
def test_a_model_of_the_folders_classes_alone_keeps_its_labels(robustcsc: Command, place: Path) -> None:
    save(place / "grey.pth", 4)
    for label, synset in enumerate(SYNSETS):
        for name in ("a", "b"):
            write(place / f"photos/val/{synset}/{name}.png", label)
    done = robustcsc(f"evaluate {GREY} --model-option logits=4 --run r --json")
    assert counts(done) == [(8, 8)]
    assert "Answers" not in done.err
    (row,) = rows(done)
    assert row.get("location.answers") is None


def test_a_file_names_the_logits_of_any_model(robustcsc: Command, place: Path) -> None:
    save(place / "grey.pth", 12)
    (place / "list.txt").write_text("".join(f"class {index}={index}\n" for index in reversed(range(12))))
    for label in (11, 2, 7):
        write(place / f"photos/class {label}/a.png", label)
        write(place / f"photos/class {label}/b.png", label + 1)
    done = robustcsc(f"evaluate {GREY} --model-option logits=12 --run r --classes list.txt --json")
    assert counts(done) == [(4, 6)]  # 12 is nearest to 11
    assert "--class-order" not in done.err
    again = robustcsc("evaluate --model greys:Grey --run r --answers folder --json")  # the run knows the file
    assert counts(again) == [(6, 6)]
    assert rows(again)[0]["location.classes"] == str(place / "list.txt")


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (
            "evaluate {GREY} --model-option logits=7",
            "returned logits of shape (2, 7) for 2 images of 4 classes",
        ),
        ("evaluate {GREY} --classes twice.txt", "--classes twice.txt has the class n01440764 2 times: give each once."),
        ("evaluate {GREY} --classes none.txt", "--classes none.txt cannot be read: give a text file"),
        (
            "evaluate {GREY} --classes few.txt",
            "The class folder n02123045 of photos is none of the 2 classes of the mod",
        ),
        (
            "evaluate {GREY} --classes five.txt",
            "greys:Grey returned logits of shape (2, 1000) for 2 images of 5 classes",
        ),
        ("evaluate {KNOWN} --root stray", "The class folder puma of stray is none of the 1000 classes of the model"),
        ("evaluate {KNOWN} --classes five.txt", "names 5 classes, but greys:Grey has 1000 logits: name one for each."),
        ("evaluate {KNOWN} --root one --answers folder", "one has one class, which every answer would be"),
        ("evaluate --run digits --answers folder", "digits has all 10 classes of sdnet-digits: leave --answers folder"),
        ("evaluate --model greys:Grey --run r --answers both", "Unknown word 'both' of --answers: choose one of "),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    typed: str, sentence: str, robustcsc: Command, place: Path, make_run: Callable[[str, str], Any]
) -> None:
    counts(robustcsc(f"evaluate {GREY} --run r --json"))
    make_run("digits", "sdnet-digits")
    (place / "twice.txt").write_text("\n".join(["n01440764", *imagenet_classes()]))
    (place / "few.txt").write_text("n01440764\nx\n")
    (place / "five.txt").write_text("\n".join([*SYNSETS, "x"]))
    for name in ("stray/n01440764", "stray/puma", "one/n01440764"):
        write(place / name / "a.png", 0)
    known = "--model greys:Grey --run r --data imagefolder"
    before = sorted(place.rglob("*"))
    typed = typed.format(GREY=GREY, KNOWN=known).replace("logits=7", "logits=7 --weights seven.pth")
    save(place / "seven.pth", 7)
    done = robustcsc(typed)
    (place / "seven.pth").unlink()
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err
    assert sorted(place.rglob("*")) == before
