import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from robustcsc.records import Condition, Record, outcome_list, packed, unpacked

CONDITION = Condition(
    run="first",
    model="sdnet18",
    weights="ab" * 32,
    dataset="cifar10",
    split="test",
    images="0123456789abcdef/all",
    kind="attack",
    name="pgd",
    norm="linf",
    epsilon=8 / 255,
    steps=20,
    restarts=1,
    protocol="adaptive",
    policy="adaptive-image",
    fit="0123456789ab",
)
RECORD = Record(
    condition=CONDITION,
    correct=3,
    total=8,
    lam=0.4,
    device="cpu",
    versions="robustcsc 0.1.0",
    seconds=1.5,
    created="2026-01-01T00:00:00+00:00",
)
OTHER_VALUES: dict[str, object] = {
    "severity": 3,
    "norm": "l2",
    "epsilon": 0.5,
    "steps": 200,
    "restarts": 5,
    "seed": 1,
}


@pytest.mark.parametrize("field", [field.name for field in fields(Condition) if field.name != "run"])
def test_every_field_but_the_run_makes_another_measurement(field: str) -> None:
    other = replace(CONDITION, **{field: OTHER_VALUES.get(field, "something else")})  # type: ignore[arg-type]
    assert other.key != CONDITION.key


def test_the_same_measurement_in_another_run_has_the_same_key() -> None:
    assert replace(CONDITION, run="second").key == CONDITION.key


def test_none_and_empty_text_are_different_conditions() -> None:
    assert replace(CONDITION, norm=None).key != replace(CONDITION, norm="").key


def test_keys_are_the_same_in_every_process() -> None:
    script = "from robustcsc.records import Condition\n" + f"print(({CONDITION!r}).key)"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == CONDITION.key


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        RECORD.correct = 4  # type: ignore[misc]


def test_row_is_flat_and_complete() -> None:
    row = RECORD.row()
    condition_names = [field.name for field in fields(Condition)]
    record_names = [field.name for field in fields(Record) if field.name != "condition"]
    assert list(row) == condition_names + record_names
    assert row["norm"] == "linf"
    assert row["severity"] is None
    assert (row["correct"], row["total"], row["lam"]) == (3, 8, 0.4)


def test_outcomes_are_packed_from_the_highest_bit_on() -> None:
    assert packed([True, False, False, False, False, False, False, True, True]) == "gYA="  # 1000 0001  1000 0000
    assert packed([]) == ""


@pytest.mark.parametrize("total", [1, 7, 8, 9, 10_000])
def test_outcomes_come_back(total: int) -> None:
    outcomes = [place % 3 == 0 or place % 7 == 1 for place in range(total)]
    bits = unpacked(packed(outcomes), total)
    assert outcome_list(bits, total) == outcomes
    assert bits.bit_count() == sum(outcomes)


def test_records_of_the_same_images_are_compared_image_by_image() -> None:
    first = replace(RECORD, total=4, outcomes=packed([True, True, False, True]))
    second = replace(RECORD, total=4, outcomes=packed([True, False, False, False]))
    assert first.bits is not None and second.bits is not None
    assert ((first.bits & ~second.bits).bit_count(), (second.bits & ~first.bits).bit_count()) == (2, 0)
    assert RECORD.bits is None


def test_records_and_store_do_not_import_torch() -> None:
    script = "import robustcsc.records, robustcsc.store, robustcsc.runs, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
