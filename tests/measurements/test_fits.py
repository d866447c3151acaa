from __future__ import annotations

import json
from pathlib import Path

import pytest

from robustcsc.errors import PolicyError
from robustcsc.measurements.facts import replace
from robustcsc.measurements.fits import LambdaFit, Line, NoiseLevel

LINE = Line(slope=0.01, intercept=0.1, r2=0.9)
LEVEL = NoiseLevel(
    noise="gaussian_noise",
    parameters={"std": 0.04},
    residuals={"squared": 9.0, "norm": 3.0, "relative": 0.25},
    correct=(40, 45, 30),
    total=50,
    best_lam=0.5,
)
FIT = LambdaFit(
    model="tiny",
    weights="5d" * 32,
    dataset="digits",
    noise="gaussian",
    seed=0,
    heldout="feed",
    trained_on_heldout=False,
    lam0=0.1,
    grid=(0.1, 0.5, 0.9),
    levels=(LEVEL,),
    lines={"squared": LINE, "norm": LINE, "relative": LINE},
    dataset_definition="squared",
    image_definition="norm",
    image_line=LINE,
    image_candidates={"squared/levels": 0.5, "norm/levels": 0.75},
    created="2026-01-01T00:00:00+00:00",
)


def test_a_fit_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "lambda" / "gaussian.json"
    FIT.save(path)
    assert LambdaFit.load(path) == FIT
    assert LambdaFit.load(path).digest == FIT.digest
    assert [file.name for file in path.parent.iterdir()] == ["gaussian.json"]


def test_a_digest_of_float32_is_that_of_a_time_without_other_precisions() -> None:
    assert FIT.precision == "fp32"
    assert FIT.digest == "fe7367d2554b"


def test_the_digest_knows_everything_but_the_time_and_the_name_of_the_data_set() -> None:
    assert replace(FIT, created="2031-01-01").digest == FIT.digest
    assert replace(FIT, dataset="renamed-folder").digest == FIT.digest
    for changed in (
        replace(FIT, seed=7),
        replace(FIT, heldout="other"),
        replace(FIT, lines={**FIT.lines, "norm": Line(slope=0.0, intercept=0.0, r2=0.0)}),
        replace(FIT, image_candidates={"norm/levels": 0.5}),
        replace(FIT, levels=()),
        replace(FIT, precision="bf16"),
    ):
        assert changed.digest != FIT.digest


@pytest.mark.parametrize("change", [{"image_shrinkage": 0.0}, {"grid": None}, {"levels": [{"noise": "shot"}]}])
def test_a_file_of_another_version_is_one_sentence(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "gaussian.json"
    FIT.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PolicyError, match="damaged or of another version"):
        LambdaFit.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gaussian.json"
    path.write_text(text)
    with pytest.raises(PolicyError, match="damaged or of another version"):
        LambdaFit.load(path)
