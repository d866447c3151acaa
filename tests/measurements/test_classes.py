"""The list of ImageNet's classes, and files that name those of other models."""

import io
import tarfile
from pathlib import Path

import pytest

from robustcsc.errors import DataError
from robustcsc.measurements.classes import are_synsets, imagenet_classes, read_classes, readable

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "imagenet-samples.tar.xz"


def test_synsets_stand_in_the_order_of_their_logits() -> None:
    known = imagenet_classes()
    assert len(known) == len(set(known.values())) == 1000
    assert list(known) == sorted(known)
    places = {index: name for index, name in enumerate(known.values()) if index in (0, 1, 134, 281, 388, 517, 999)}
    assert places == {
        0: "tench",
        1: "goldfish",
        134: "crane bird",
        281: "tabby",
        388: "giant panda",
        517: "crane",
        999: "toilet tissue",
    }
    assert (readable("n02510455"), readable("panda")) == ("giant panda", "panda")


def test_synsets_are_those_of_the_samples() -> None:
    if not SAMPLES.exists():
        pytest.skip("the ImageNet samples are not beside the checkout (shared/data/imagenet-samples.tar.xz)")
    with tarfile.open(SAMPLES) as archive:
        file = archive.extractfile("imagenet-samples-classes.tsv")
        assert file is not None
        rows = [line.rstrip("\n").split("\t") for line in io.TextIOWrapper(file, "utf-8")]
    assert [synset for _, synset, _ in rows] == list(imagenet_classes())


@pytest.mark.parametrize(
    ("names", "some"),
    [
        (["n01440764", "n15075141"], True),
        (["n01440764"], True),
        (["n01440764", "n00000000"], False),
        (["tench"], False),
        (list(imagenet_classes()), False),  # all: their order is that of the folders
    ],
)
def test_some_synsets_are_recognised(names: list[str], some: bool) -> None:
    assert are_synsets(names) is some


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("ant\nbee\n", ("ant", "bee")),
        ("# a comment\n\n great white shark \r\nbee", ("great white shark", "bee")),
        ("bee = 1\nant=0\n", ("ant", "bee")),
        ("a=b=1\nx=y=0\n", ("x=y", "a=b")),
        ("\ufeffant\nbee\n", ("ant", "bee")),
    ],
)
def test_a_file_names_the_classes_by_logit(text: str, classes: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text(text, "utf-8")
    assert read_classes(tmp_path / "c.txt") == classes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ant\nbee\nant\n", "has the class ant 2 times: give each once."),
        ("ant=0\nbee=1\nant=2\n", "has the class ant 2 times: give each once."),
        ("ant=0\nbee=0\n", "has the index 0 2 times: give each once."),
        ("ant=0\nbee=2\n", "names 2 classes, but none has the index 1."),
        ("ant=0\nbee\n", "has an index, NAME=INDEX, in some lines only: give it in all, or in none."),
        ("# nothing\n", "names no class: give the name of a class a line."),
        (None, "cannot be read: give a text file with the name of a class a line."),
    ],
)
def test_a_file_that_does_not_name_each_logit_once_is_refused(text: str | None, sentence: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "c.txt").write_text(text)
    with pytest.raises(DataError) as refused:
        read_classes(tmp_path / "c.txt")
    assert str(refused.value) == f"--classes {tmp_path / 'c.txt'} {sentence}"
