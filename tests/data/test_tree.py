"""What an image folder is taken for: the order of its classes, and the level that its root is on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from robustcsc.data import DecodedImages, ImageSet, load
from robustcsc.errors import DataError
from robustcsc.measurements.records import ClassOrder

Pixels = npt.NDArray[np.uint8]
Writer = Callable[[Path, Pixels], Pixels]

#: Names of class folders as text sorts them, and by number where that is another order.
NUMBERED = {
    "integers": ("0 1 10 11 2", "0 1 2 10 11"),
    "from one": ("1 10 100 2 20 3", "1 2 3 10 20 100"),
    "negative": ("-1 0 1 10 2", "-1 0 1 2 10"),
    "prefix": ("class0 class1 class10 class2", "class0 class1 class2 class10"),
    "prefix with digits": ("cifar10_1 cifar10_10 cifar10_9", "cifar10_1 cifar10_9 cifar10_10"),
    "prefix with a hyphen": ("c-1 c-10 c-2", "c-1 c-2 c-10"),
    "suffix": ("1st 21st 3st", "1st 3st 21st"),
    "number and name": ("0_zebra 10_ant 2_cat", "0_zebra 2_cat 10_ant"),
    "some padded": ("01 02 10 9", "01 02 9 10"),
}
AGREEING = (
    "0 1 2 3 4 5 6 7 8 9",
    "00 01 02 10 11",
    "n01440764 n01443537 n15075141",
    "ant bee cat",
    "3d_printer 10_key ten",  # not all are numbered
    "1-a 1-b 10-a",  # a number is no name
    "class",
)


def grey(level: int) -> Pixels:
    return np.full((8, 8, 3), level, np.uint8)


def write_classes(folder: Path, names: list[str], write_image: Writer) -> None:
    """One image a class, of the grey level that is its position in `names`; made in another order."""
    for level in random.Random(0).sample(range(len(names)), len(names)):
        write_image(folder / names[level] / "1.png", grey(level))


def opened(root: Path, split: str = "test", order: ClassOrder | None = None) -> tuple[ImageSet, list[str]]:
    """The images, and the notes on them."""
    told: list[str] = []
    return load("imagefolder", root, split, class_order=order, note=told.append), told


@pytest.mark.parametrize(("as_text", "by_number"), NUMBERED.values(), ids=NUMBERED)
def test_numbered_classes_are_labels_by_number_unless_text_is_asked_for(
    as_text: str, by_number: str, tmp_path: Path, write_image: Writer
) -> None:
    for split in ("train", "val"):
        write_classes(tmp_path / split, by_number.split(), write_image)
    for split in ("train", "test"):
        images, told = opened(tmp_path, split)
        assert images.classes == tuple(by_number.split())
        assert images.location.class_order == "number"
        assert isinstance(images, DecodedImages)
        assert images.labels.tolist() == images.in_memory.pixels[:, 0, 0, 0].tolist() == list(range(len(images)))
        (sentence,) = told
        assert f"ordered by number; for weights trained on their order as text ({as_text[:2].strip()}" in sentence
        assert sentence.endswith("add --class-order text.")
    chosen, told = opened(tmp_path, order="text")
    assert (chosen.classes, chosen.location.class_order, told) == (tuple(as_text.split()), "text", [])
    assert chosen.fingerprint != images.fingerprint  # the order is part of the identity
    again, told = opened(tmp_path, order="number")
    assert (again.classes, told) == (tuple(by_number.split()), [])


@pytest.mark.parametrize("names", AGREEING)
@pytest.mark.parametrize("order", [None, "number", "text"])
def test_classes_with_one_order_need_no_word(
    names: str, order: ClassOrder | None, tmp_path: Path, write_image: Writer
) -> None:
    write_classes(tmp_path / "test", names.split(), write_image)
    images, told = opened(tmp_path, order=order)
    assert (images.classes, images.location.class_order, told) == (tuple(sorted(names.split())), None, [])


def test_a_notebook_is_warned(tmp_path: Path, write_image: Writer) -> None:
    write_classes(tmp_path / "test", ["8", "9", "10"], write_image)
    with pytest.warns(
        UserWarning, match=r"3 class folders \(8, 9, 10\) in .*test are ordered by number; .* \(10, 8, 9\)"
    ):
        assert load("imagefolder", tmp_path).classes == ("8", "9", "10")


def test_an_order_of_classes_is_for_image_folders() -> None:
    with pytest.raises(DataError, match="digits has no class folders: leave --class-order out"):
        load("digits", class_order="text")


def test_a_bare_tree_says_what_it_was_taken_for(tmp_path: Path, write_image: Writer) -> None:
    write_classes(tmp_path / "photos", ["ant", "bee", "cat", "dog", "emu", "fox"], write_image)
    images, told = opened(tmp_path / "photos")
    assert len(images.classes) == 6
    assert told == [
        f"{tmp_path}/photos has no folders train and test: it is read as the test images, "
        "6 class folders (ant, bee, cat, dog, emu, ...)."
    ]


@pytest.mark.parametrize("split", ["train", "test", "val"])
def test_a_root_that_is_one_split_names_the_root_of_both(split: str, tmp_path: Path, write_image: Writer) -> None:
    write_classes(tmp_path / "photos" / split, ["ant", "bee"], write_image)
    inside = tmp_path / "photos" / split
    instead = f"for both splits of {tmp_path}/photos, type --root {tmp_path}/photos."
    images, told = opened(inside)
    assert (images.classes, len(told)) == (("ant", "bee"), 1)
    assert told[0].endswith(f"it is read as the test images, 2 class folders (ant, bee); {instead}")
    with pytest.raises(DataError, match="they must lie in train/<class>/<image>; for both splits") as caught:
        opened(inside, "train")
    assert str(caught.value).endswith(instead)


def test_the_root_is_named_from_inside(tmp_path: Path, write_image: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(tmp_path / "train", ["ant", "bee"], write_image)
    monkeypatch.chdir(tmp_path / "train")
    assert opened(Path())[1][0].endswith(f"type --root {tmp_path}.")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_root_above_the_tree_is_refused_with_the_right_one(split: str, tmp_path: Path, write_image: Writer) -> None:
    for inner in ("photos/train", "photos/val", "archive/old"):
        write_classes(tmp_path / inner, ["ant", "bee"], write_image)
    with pytest.raises(DataError) as caught:
        opened(tmp_path, split)
    assert str(caught.value) == (
        f"{tmp_path} holds the image folder photos, not classes: type --root {tmp_path}/photos."
    )
    write_classes(tmp_path / "birds" / "test", ["ant", "bee"], write_image)
    with pytest.raises(DataError, match=f"image folders birds, photos, not classes: type --root {tmp_path}/birds"):
        opened(tmp_path, split)


@pytest.mark.parametrize(
    ("inside", "home"), [("photos/test/ant", "photos"), ("photos/train/bee", "photos"), ("a/b", "a")]
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_folder_is_refused_with_the_right_root(
    split: str, inside: str, home: str, tmp_path: Path, write_image: Writer
) -> None:
    write_image(tmp_path / inside / "1.png", grey(1))
    with pytest.raises(DataError) as caught:
        opened(tmp_path / inside, split)
    assert str(caught.value).startswith(f"{tmp_path}/{inside} holds images but no class folders: if it is a class")
    assert str(caught.value).endswith(f"type --root {tmp_path}/{home}.")


def test_folders_inside_a_class_are_no_tree(tmp_path: Path, write_image: Writer) -> None:
    for session in ("train", "session1"):  # a class folder may hold folders of any name
        write_image(tmp_path / "test" / "ant" / session / "1.png", grey(1))
    images, told = opened(tmp_path)
    assert (images.classes, images.files, told) == (("ant",), ("ant/session1/1.png", "ant/train/1.png"), [])
    write_image(tmp_path / "test" / "bee" / "session1" / "1.png", grey(2))
    images, told = opened(tmp_path / "test" / "bee")
    assert images.classes == ("session1",)
    assert told[0].endswith(f"if it is one class of {tmp_path}, type --root {tmp_path}.")
    images, told = opened(tmp_path / "test")
    assert (images.files, len(told)) == (("ant/session1/1.png", "ant/train/1.png", "bee/session1/1.png"), 1)
