from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustcsc.attacks.universal import UniversalPerturbation
from robustcsc.errors import StoreError
from robustcsc.evaluation.fooling.universal import draw_perturbation, load_perturbation, save_perturbation
from robustcsc.measurements.threats import ThreatModel


def made(values: Tensor) -> UniversalPerturbation:
    return UniversalPerturbation(
        values=values, threat=ThreatModel("l2", 1.5), images=20, fooled=13, converged=False, passes=4, seconds=0.25
    )


def test_perturbations_come_back_as_they_were_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "uap.safetensors"
    kept = made(torch.linspace(-0.2, 0.1, 3 * 4 * 5).view(3, 4, 5))
    save_perturbation(path, kept, "key")
    found = load_perturbation(path, "key")
    assert found is not None and torch.equal(found.values, kept.values)
    assert (found.threat, found.images, found.fooled, found.converged) == (kept.threat, 20, 13, False)
    assert (found.passes, found.seconds) == (4, 0.25)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["uap.png", "uap.safetensors"]


def test_other_keys_and_absent_files_are_no_perturbation(tmp_path: Path) -> None:
    path = tmp_path / "uap.safetensors"
    assert load_perturbation(path, "key") is None
    save_perturbation(path, made(torch.zeros(1, 2, 2)), "key")
    assert load_perturbation(path, "other") is None


def test_damaged_files_are_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "uap.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(StoreError, match=r"is damaged or of another version \(.*header.*\): delete it"):
        load_perturbation(path, "key")


def test_places_that_cannot_be_written_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        save_perturbation(tmp_path / "file" / "uap.safetensors", made(torch.zeros(1, 2, 2)), "key")


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_show_zero_as_grey_and_name_their_scale(tmp_path: Path, channels: int) -> None:
    values = torch.tensor([[-0.04, 0.0], [0.02, 0.04]]).expand(channels, 2, 2)
    path = tmp_path / "uap.safetensors"
    save_perturbation(path, made(values), "key")
    with Image.open(path.with_suffix(".png")) as picture:
        assert picture.info["Scale"] == "0 to 255 is -0.04 to 0.04"
        pixels = np.asarray(picture.convert("RGB"))
    size = pixels.shape[1]
    quarter, rest = size // 4, 3 * size // 4
    shown = [pixels[row, column].tolist() for row in (quarter, rest) for column in (quarter, rest)]
    assert shown == [[0] * 3, [128] * 3, [191] * 3, [255] * 3]
    assert pixels.shape[0] > size  # the caption


def test_a_perturbation_of_zero_is_grey() -> None:
    picture, scale = draw_perturbation(torch.zeros(3, 4, 4))
    assert picture.getpixel((1, 1)) == (128, 128, 128) and scale == "0 to 255 is -0 to 0"
