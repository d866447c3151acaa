"""`robustcsc inspect coding`."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustcsc.runs import Run

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]


@pytest.mark.parametrize(
    ("model", "kind", "layers"),
    [
        ("msd-csc-fista6", "MSD-CSC", 6),
        pytest.param("ml-csc-ista", "ML-CSC", 6, marks=pytest.mark.slow),
        pytest.param("msdnet6", "MSD-CSC", 6, marks=pytest.mark.slow),
    ],
)
def test_every_layer_is_described(
    robustcsc: Command, make_run: MakeRun, few_digits: None, model: str, kind: str, layers: int
) -> None:
    make_run("here", model)
    done = robustcsc("inspect coding --run here --limit 10 --json")
    assert done.code == 0
    rows = json.loads(done.out)
    assert [row["kind"] for row in rows] == [kind] * layers
    assert all(row["images"] == 10 for row in rows)
    assert all(0 <= row["unsuccessful"] <= row["dimensions"] for row in rows)
    assert all(0 <= row["coherence"] <= row["coherence_with_identity"] <= 1 for row in rows)
    assert all(0 < row["convergence"] < 2 for row in rows)


def test_the_table_is_printed_and_written_and_the_run_stays_as_it_is(
    robustcsc: Command, make_run: MakeRun, few_digits: None, contents: Callable[[], dict[str, bytes | None]]
) -> None:
    make_run("here", "sdnet-digits")
    before = contents()
    done = robustcsc("inspect coding --run here --limit 5 --out found")
    assert done.code == 0
    assert "Coding: sdnet-digits on digits-test (5 images)" in done.out or "Coding: sdnet-digits on digits" in done.out
    assert "unsuccessful: dimensions of the signal" in done.out
    after = contents()
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"found", "found/coding.csv"}
    (row,) = csv.DictReader(Path("found/coding.csv").read_text().splitlines())
    assert (row["layer"], row["kind"]) == ("stem.0", "CSC")
    assert (float(row["beta"]), float(row["step x L"])) == pytest.approx((0.1, 0.9), rel=1e-6)


def test_without_any_run_the_shipped_model_is_inspected_and_nothing_is_written(
    robustcsc: Command, few_digits: None, contents: Callable[[], dict[str, bytes | None]]
) -> None:
    done = robustcsc("inspect coding")
    assert done.code == 0
    assert "stem.0" in done.out
    assert contents() == {}


def test_a_network_without_sparse_coding_is_refused(robustcsc: Command, make_run: MakeRun, few_digits: None) -> None:
    make_run("here", "resnet-digits")
    done = robustcsc("inspect coding --run here")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: This model has no convolutional sparse-coding layer")


def test_an_out_folder_that_is_a_file_is_refused(robustcsc: Command, place: Path, few_digits: None) -> None:
    (place / "taken").touch()
    done = robustcsc("inspect coding --limit 2 --out taken")
    assert done.code == 2
    assert "--out taken cannot be written to" in done.err


def test_inspect_alone_shows_what_it_can_do(robustcsc: Command) -> None:
    done = robustcsc("inspect --help")
    assert done.code == 0
    for command in ("atoms", "classifier", "codes", "coding", "metric", "reconstruction", "residuals"):
        assert command in done.out
