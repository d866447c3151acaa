"""Images whose class folders are only some of the classes of a model."""

from pathlib import Path

import pytest
import torch

from robustcsc.data import MemoryImages
from robustcsc.data.classes import answering
from robustcsc.errors import DataError
from robustcsc.measurements.records import Answers, Location

MODEL = ("ant", "bee", "cat", "dog", "emu")


def images(*classes: str) -> MemoryImages:
    """Two grey images of each class, one level per image."""
    count = 2 * len(classes)
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    labels = torch.arange(len(classes)).repeat_interleave(2)
    return MemoryImages(
        name="some", split="test", classes=classes, pixels=pixels, labels=labels, positions=torch.arange(count)
    )


def test_answers_among_all_classes_have_labels_that_are_logits() -> None:
    folder = images("dog", "bee")
    mapped = answering(folder, MODEL)
    assert mapped.classes == MODEL
    assert mapped.labels.tolist() == [3, 3, 1, 1]
    assert (mapped.logits, mapped.location) == ((), Location(answers="all"))
    assert mapped.pixels is folder.pixels
    assert mapped.positions is folder.positions


def test_answers_among_the_folders_name_their_logits() -> None:
    folder = images("dog", "bee")
    kept = answering(folder, MODEL, "folder", file=Path("/list.txt"))
    assert (kept.classes, kept.labels.tolist(), kept.logits) == (("dog", "bee"), [0, 0, 1, 1], (3, 1))
    assert kept.location == Location(classes="/list.txt", answers="folder")
    assert kept.subset(torch.tensor([2])).logits == (3, 1)


def test_what_answers_are_chosen_from_is_part_of_the_identity() -> None:
    folder = images("dog", "bee")
    prints = {
        answering(folder, MODEL).fingerprint,
        answering(folder, MODEL, "folder").fingerprint,
        answering(folder, MODEL[::-1], "folder").fingerprint,  # other logits
        folder.fingerprint,
    }
    assert len(prints) == 4
    assert folder.fingerprint == "049fbb108bdbc508"  # images without a choice keep theirs


def test_all_classes_in_another_order_get_other_labels_and_no_choice() -> None:
    mapped = answering(images("ant", "bee"), ("bee", "ant"))
    assert (mapped.classes, mapped.labels.tolist(), mapped.location.answers) == (("bee", "ant"), [1, 1, 0, 0], None)


@pytest.mark.parametrize(
    ("names", "answers", "sentence"),
    [
        (("dog", "fox"), None, "The class folder fox of some is none of the 5 classes of the model: name its classes"),
        (MODEL, "folder", "some has all 5 classes of the model: leave --answers folder out."),
        (("dog",), "folder", "some has one class, which every answer would be: leave --answers folder out."),
    ],
)
def test_images_that_do_not_fit_are_refused(names: tuple[str, ...], answers: Answers | None, sentence: str) -> None:
    with pytest.raises(DataError) as refused:
        answering(images(*names), MODEL, answers)
    assert str(refused.value).startswith(sentence)
