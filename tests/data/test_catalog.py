from pathlib import Path

import pytest

from robustcsc.data import DATASETS, load
from robustcsc.errors import DataError, UnknownNameError


def test_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(UnknownNameError, match="Unknown data set 'cifar-10': did you mean 'cifar10'"):
        load("cifar-10")
    with pytest.raises(UnknownNameError, match="Unknown split 'val': choose one of test, train"):
        load("digits", split="val")


@pytest.mark.parametrize("name", [name for name, source in DATASETS.items() if source.needs_root])
def test_a_missing_root_is_one_sentence(name: str) -> None:
    with pytest.raises(DataError, match=rf"No folder of {name} is known .*: add --root FOLDER, or set ROBUSTCSC_DATA"):
        load(name)


@pytest.mark.parametrize("name", ["digits", "textures"])
def test_an_embedded_set_needs_no_root_and_its_entry_is_true(name: str) -> None:
    images = load(name)
    assert DATASETS[name].image_shape == images.image_shape
    assert DATASETS[name].num_classes == len(images.classes)


def test_all_other_sets_need_a_root() -> None:
    assert [name for name, source in DATASETS.items() if not source.needs_root] == ["digits", "textures"]


def test_options_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cifar10 has images of 32x32 pixels"):
        load("cifar10", tmp_path, image_size=224)
    with pytest.raises(DataError, match="number of readers is -1"):
        load("digits", readers=-1)
    with pytest.raises(DataError, match="imagefolder cannot be downloaded"):
        load("imagefolder", tmp_path, download=True)
    assert len(load("digits", image_size=8)) == 500
