"""Records as rows and CSV files, and back."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcsc.files import no_formula
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import replace
from robustcsc.measurements.frames import DERIVED, TIMING, flat, records_csv, records_frame
from robustcsc.measurements.perturbations import Attack, Clean
from robustcsc.measurements.policies import Adaptive, FixedLambda, Scope, WorstOf
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Images, Measurement, Outcomes, Record, Subject
from robustcsc.measurements.threats import ThreatModel
from tests.measurements.reading import read_records

CLEAN = Record(
    measurement=Measurement(
        subject=Subject(run="first", model="sdnet18", weights="ab" * 32),
        images=Images(dataset="cifar10", split="test", fingerprint="0123456789abcdef", count=8),
        perturbation=Clean(),
        policy=FixedLambda(0.1 + 0.2),
    ),
    met=6,
    total=8,
    provenance=Provenance(device="cpu", versions={"torch": "2.11"}, seconds=1.5, created="2026-01-01T00:00:00+00:00"),
    lam=0.3,
    outcomes=Outcomes.of([True] * 6 + [False] * 2),
)
ATTACKED = replace(
    CLEAN,
    measurement=replace(
        CLEAN.measurement,
        perturbation=Attack(
            steps=(AttackStep.of("pgd"), AttackStep.of("fgsm")),
            threat=ThreatModel("linf", 8 / 255),
            protocol=Protocol.ADAPTIVE,
            seed=3,
        ),
        policy=Adaptive(scope=Scope.IMAGE, fit="0123456789ab"),
        batch_size=250,
    ),
)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_records_come_back_from_a_csv_file(data: st.DataObject, records: st.SearchStrategy[Record]) -> None:
    made = data.draw(st.lists(records, min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.csv"
        records_frame(made).to_csv(path, index=False)
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
        path.write_bytes(records_csv(made).encode())
        assert list(csv.reader(io.StringIO(records_csv(made), newline=""))) == [
            list(map(no_formula, it)) for it in rows
        ]
        assert read_records(path) == made


@pytest.mark.parametrize("text", ["[brackets]", "true", "null", "1e5", '"quoted", and more', "two\nlines", " spaces "])
def test_text_stays_text(text: str, tmp_path: Path) -> None:
    subject, images = Subject(run=text, model=text, weights=text), replace(CLEAN.measurement.images, dataset=text)
    record = replace(CLEAN, measurement=replace(CLEAN.measurement, subject=subject, images=images))
    records_frame([record]).to_csv(tmp_path / "results.csv", index=False)
    assert read_records(tmp_path / "results.csv") == [record]


def test_rows_are_flat_and_have_one_fact_a_column() -> None:
    row = json.loads(json.dumps(flat(ATTACKED)))
    assert all(type(value) in (int, float, str, bool) for name, value in row.items() if name != "steps")
    expected = {
        "run": "first",
        "model": "sdnet18",
        "weights": "ab" * 32,
        "dataset": "cifar10",
        "split": "test",
        "images": "0123456789abcdef",
        "image_count": 8,
        "kind": "attack",
        "steps": [{"name": "pgd", "settings": [["loss", "ce"], ["steps", 20]]}, {"name": "fgsm"}],
        "norm": "linf",
        "epsilon": 8 / 255,
        "protocol": "adaptive",
        "seed": 3,
        "policy": "adaptive",
        "policy.scope": "image",
        "policy.fit": "0123456789ab",
        "metric": "accuracy",
        "batch_size": 250,
        "precision": "fp32",
        "met": 6,
        "total": 8,
        "device": "cpu",
        "versions.torch": "2.11",
        "seconds": 1.5,
        "created": "2026-01-01T00:00:00+00:00",
        "lambda": 0.3,
        "outcomes": "/A==",  # 1111 1100
        "outcome_count": 8,
        "rate": 0.75,
    }
    assert {name: row[name] for name in expected} == expected
    assert set(row) - set(expected) == {"low", "high"}
    # Wilson, z = 1.96: (0.75 + z^2 / 16 -+ z sqrt(0.75 0.25 / 8 + z^2 / 256)) / (1 + z^2 / 8)
    assert row["low"] == pytest.approx(0.4093, abs=1e-4) and row["high"] == pytest.approx(0.9285, abs=1e-4)


def test_columns_that_no_record_fills_are_left_out_and_whole_numbers_stay_whole() -> None:
    frame = records_frame([CLEAN, ATTACKED])
    assert list(frame.columns)[:8] == ["run", "model", "weights", "dataset", "split", "images", "image_count", "kind"]
    assert "severity" not in frame and "policy.values" not in frame
    assert frame["seed"].tolist()[1] == 3 and frame["seed"].isna().tolist() == [True, False]
    assert str(frame["seed"].dtype) == "Int64"
    assert frame["policy.value"].tolist()[0] == 0.1 + 0.2
    assert [set(frame.columns) - set(records_frame([CLEAN, ATTACKED], timing=False).columns)] == [set(TIMING)]
    assert set(DERIVED) <= set(records_frame([]).columns) and len(records_frame([])) == 0


def test_lists_are_lists_in_rows_and_json_text_in_frames() -> None:
    record = replace(CLEAN, measurement=replace(CLEAN.measurement, policy=WorstOf((0.1, 1 / 31))))
    assert json.loads(json.dumps(flat(record)))["policy.values"] == [0.1, 1 / 31]
    assert records_frame([record])["policy.values"].tolist() == ["[0.1,0.03225806451612903]"]
    assert records_frame([ATTACKED])["steps"].tolist() == [
        '[{"name":"pgd","settings":[["loss","ce"],["steps",20]]},{"name":"fgsm"}]'
    ]


def test_a_column_of_whole_and_other_numbers_is_written_as_pandas_does() -> None:
    half = replace(CLEAN, lam=1, provenance=replace(CLEAN.provenance, seconds=1e-7, device='a "b", c'))
    records = [CLEAN, half, replace(CLEAN, lam=None), ATTACKED]
    assert records_csv(records) == records_frame(records).to_csv(index=False, lineterminator="\n")
    assert records_csv([]) == records_frame([]).to_csv(index=False, lineterminator="\n")
