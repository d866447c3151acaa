from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from robustcsc.errors import StoreError
from robustcsc.records import Record
from robustcsc.report import perturbation_pictures, read_examples

RecordMaker = Callable[..., Record]


def perturbation(record: RecordMaker, file: str, **condition: object) -> Record:
    fields = {"kind": "uap", "name": "uap", "norm": "linf", "epsilon": 0.04, "metric": "fooling rate", **condition}
    made = record(correct=712, total=2000, spec="crafted on 1000 train images", **fields)
    return replace(made, details=json.dumps({"perturbation": file}))


def test_pictures_are_found_beside_the_results(record: RecordMaker, tmp_path: Path) -> None:
    (tmp_path / "perturbations").mkdir()
    (tmp_path / "perturbations/uap-1.png").write_bytes(b"picture")
    made = [perturbation(record, "uap-1.safetensors"), perturbation(record, "gone.safetensors", seed=1)]
    (picture,) = perturbation_pictures(made, {"sdnet": tmp_path})
    assert picture.png == b"picture"
    assert base64.b64decode(picture.address.removeprefix("data:image/png;base64,")) == b"picture"
    assert "L∞ 0.04" in picture.title
    assert "35.60 [" in picture.description  # 712 of 2000


def test_no_file_outside_the_folder_is_read(record: RecordMaker, tmp_path: Path) -> None:
    (tmp_path / "run/perturbations").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    assert perturbation_pictures([perturbation(record, "../../secret.safetensors")], {"sdnet": tmp_path / "run"}) == []


def test_damaged_examples_are_one_sentence(tmp_path: Path) -> None:
    assert read_examples(tmp_path, "run") is None
    (tmp_path / "examples").mkdir()
    for content in ("not json", "{}", '{"note": "", "examples": [{"position": 1}]}'):
        (tmp_path / "examples/examples.json").write_text(content)
        with pytest.raises(StoreError, match="are damaged or of another version: delete the folder"):
            read_examples(tmp_path, "run")
