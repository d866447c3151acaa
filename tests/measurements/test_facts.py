"""Facts become JSON and come back equal, whatever their kind."""

from __future__ import annotations

import hashlib
import json
import pickle
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcsc.measurements.facts import digest_of, from_json, from_plain, replace, tag_of, to_json, to_plain
from robustcsc.measurements.perturbations import Corruption, Perturbation, RandomNoise, SeverityTable
from robustcsc.measurements.policies import FixedLambda, Policy
from robustcsc.measurements.records import Record

FOG = Corruption(name="fog", severity=3, table=SeverityTable(name="cifar10_c", digest="1a2b3c4d"))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_records_come_back_from_json(data: st.DataObject, records: st.SearchStrategy[Record]) -> None:
    record = data.draw(records)
    back = from_json(to_json(record), Record)
    assert back == record and type(back.measurement.perturbation) is type(record.measurement.perturbation)
    assert back.measurement.key == record.measurement.key
    assert from_plain(json.loads(to_json(record)), Record) == record


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_records_from_another_process_have_the_same_json(
    data: st.DataObject, records: st.SearchStrategy[Record]
) -> None:
    record = data.draw(records)
    again = pickle.loads(pickle.dumps(record))
    assert (again, to_json(again)) == (record, to_json(record))


@pytest.mark.parametrize("union", [Perturbation, Policy])
def test_every_kind_has_a_name_of_its_own(union: Any) -> None:
    kinds = get_args(union)
    assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds)


def test_every_kind_of_perturbation_is_drawn(kinds: dict[str, object]) -> None:
    assert set(kinds) == {kind.__struct_config__.tag for kind in get_args(Perturbation)}


def test_json_names_the_kind_and_leaves_defaults_out() -> None:
    assert json.loads(to_json(FOG)) == {
        "type": "corruption",
        "name": "fog",
        "severity": 3,
        "table": {"name": "cifar10_c", "digest": "1a2b3c4d"},
    }
    assert (tag_of(FOG), tag_of(FOG.table)) == ("corruption", "")
    assert to_plain(FixedLambda(0.5)) == {"type": "fixed", "value": 0.5}


def test_digests_are_of_sorted_json_at_full_precision() -> None:
    content = b'["a",{"one":0.03137254901960784,"two":[1,null]}]'
    assert digest_of(("a", {"two": [1, None], "one": 8 / 255})) == hashlib.sha256(content).hexdigest()


def test_whole_numbers_are_the_floats_they_equal() -> None:
    whole: Any = 1
    assert digest_of(FixedLambda(whole)) == digest_of(FixedLambda(1.0))
    assert digest_of(RandomNoise(rho=whole)) == digest_of(RandomNoise(rho=1.0))


@pytest.mark.parametrize(
    "content",
    [
        '{"type": "corruption", "name": "fog", "severity": 3}',
        '{"type": "corruption", "name": "fog", "severity": "3", "table": {"name": "a", "digest": "b"}}',
        '{"type": "rain"}',
        "{",
    ],
    ids=["missing", "text", "unknown", "damaged"],
)
def test_json_of_something_else_is_refused(content: str) -> None:
    with pytest.raises(ValueError):
        from_json(content, Perturbation)  # type: ignore[arg-type]


def test_facts_do_not_change() -> None:
    changed: Any = FOG
    with pytest.raises(AttributeError):
        changed.severity = 4
    assert replace(FOG, severity=4).severity == 4 and FOG.severity == 3
    with pytest.raises(TypeError):
        replace(FOG, severty=4)
