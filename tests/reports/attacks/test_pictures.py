from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustcsc.measurements.records import CraftingDetails, Record
from robustcsc.reports.attacks.fooling import perturbation_pictures

RecordMaker = Callable[..., Record]


def crafted(universal: RecordMaker, file: str, **how: Any) -> Record:
    details = CraftingDetails(converged=False, fooled=300, passes=10, file=file)
    return universal(met=712, total=2000, epsilon=0.04, details=details, **how)


def test_pictures_are_found_beside_the_results(universal: RecordMaker, tmp_path: Path) -> None:
    (tmp_path / "perturbations").mkdir()
    (tmp_path / "perturbations/uap-1.png").write_bytes(b"picture")
    found = crafted(universal, "uap-1.safetensors")
    made = [
        found,
        crafted(universal, "gone.safetensors", crafting={"seed": 1}),
        crafted(universal, "uap-1.safetensors", metric="fooling rate of correct images"),
        crafted(universal, "uap-1.safetensors", run="another run"),
    ]
    (picture,) = perturbation_pictures(made, {"sdnet": tmp_path})
    assert picture.png == b"picture"
    assert picture.png == b"picture"
    assert picture.title == "sdnet, no lambda, L∞ 0.04, seed 0"
    assert "35.60 [" in picture.description  # 712 of 2000
    assert "crafted on 1000 train images (fccffccffccffccf), delta 0.2, batches of 25." in picture.description


def test_no_file_outside_the_folder_is_read(universal: RecordMaker, tmp_path: Path) -> None:
    (tmp_path / "run/perturbations").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    made = [crafted(universal, "../../secret.safetensors")]
    assert perturbation_pictures(made, {"sdnet": tmp_path / "run"}) == []
