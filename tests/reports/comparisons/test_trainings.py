from collections.abc import Callable
from fractions import Fraction
from statistics import stdev

import pytest

from robustcsc.measurements.records import Record
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.table import Spread, Table
from robustcsc.presentation.words import MISSING
from robustcsc.reports.comparisons.trainings import seed_tables, training_tables
from tests.reports.trained import run_of, training

RecordMaker = Callable[..., Record]


@pytest.fixture
def trainings() -> list[Training]:
    return [training(model, seed) for model in ("resnet8", "detrame-resnet8") for seed in (0, 1)]


@pytest.fixture
def records(clean: RecordMaker, universal: RecordMaker, trainings: list[Training]) -> list[Record]:
    """Accuracies 80, 79, 83 and 84 %, and fooling rates 30, 32, 40 and 42 % for each of two crafting seeds."""
    made = [clean(met=it, **run_of(of)) for of, it in zip(trainings, (8000, 7900, 8300, 8400), strict=True)]
    for of, correct in zip(trainings, (3000, 3200, 4000, 4200), strict=True):
        for sign in (-1, 1):
            about = {"epsilon": 0.04, "crafting": {"seed": sign + 1}, **run_of(of)}
            made.append(universal(met=correct + 100 * sign, **about))
    return made


def row(table: Table, *starts: str) -> tuple[str, ...]:
    (found,) = [cells for cells in table.texts if cells[: len(starts)] == starts]
    return found


def test_the_spread_is_that_over_training_seeds(records: list[Record], trainings: list[Training]) -> None:
    (table,) = seed_tables(records, trainings)
    assert [column.heading for column in table.columns] == ["measured", "images", "detrame-resnet8", "resnet8"]
    spread = f"{stdev([79, 80]):.2f}"
    assert row(table, "clean accuracy")[2:] == (f"83.50 ± {spread}", f"79.50 ± {spread}")
    universal = row(table, "fooling rate, UAP L∞ 0.04")
    assert universal[1].endswith(", crafted on 1000 train images (fccffccffccffccf), delta 0.2, batches of 25")
    assert universal[2:] == ("41.00 ± 1.41", "31.00 ± 1.41")


def test_every_model_is_a_row_that_says_how_it_was_trained(records: list[Record], trainings: list[Training]) -> None:
    (table,) = training_tables(records, trainings)
    assert [dict(zip((it.heading for it in table.columns), row, strict=True)) for row in table.texts] == [
        {
            "model": model,
            "lambda policy": "no lambda",
            "options": options,
            "parameters": parameters,
            "training images": "45000",
            "epochs": "16",
            "training seeds": "0, 1",
            "training time (s)": "100",  # 100.5, to even
            "test time per image (ms)": "0.15",  # 1.5 s for 10000
        }
        for model, options, parameters in (
            ("detrame-resnet8", "num_steps=3", "131000"),
            ("resnet8", MISSING, "78042"),
        )
    ]


def test_numbers_of_one_training_stand_in_the_other_tables(records: list[Record], trainings: list[Training]) -> None:
    assert seed_tables(records, trainings[::2]) == []
    (table,) = training_tables(records, trainings[::2])
    assert [row[6] for row in table.texts] == ["0", "0"]


def test_the_mean_over_crafting_seeds_is_not_rounded_to_images(universal: RecordMaker) -> None:
    known = [training("resnet8", seed) for seed in (0, 1)]
    fooled = [(of, *it) for of in known for it in enumerate((1, 2, 2))]
    made = [universal(met=n, total=10, crafting={"seed": seed}, **run_of(of)) for of, seed, n in fooled]
    (table,) = seed_tables(made, known)
    (cell,) = table.rows[-1][2:]
    assert isinstance(cell, Spread) and cell.seeds == 2
    assert cell.mean == pytest.approx(float(Fraction(5, 30)), rel=1e-15, abs=0)


def test_trainings_that_differ_in_more_than_the_seed_stand_apart(records: list[Record]) -> None:
    known = [training("resnet8", 0), training("resnet8", 1, epochs=20, recipe={"epochs": 20})]
    (table,) = training_tables(records, known)
    assert [row[5:7] for row in table.texts] == [("16", "0"), ("20", "1")]
    assert seed_tables(records, known) == []


def test_lambda_policies_are_columns_of_the_same_rows(clean: RecordMaker) -> None:
    known = [training("sdnet18", seed) for seed in (0, 1)]
    policies = ((80, "train"), (90, "adaptive"), (1, "fixed=0.5"))
    made = [clean(met=it, policy=policy, **run_of(of)) for of in known for it, policy in policies]
    (table,) = seed_tables(made, known)
    headings = [column.heading for column in table.columns]
    assert headings == ["measured", "images", "sdnet18, adaptive lambda", "sdnet18, training lambda"]
    assert [cell.split()[0] for cell in row(table, "clean accuracy")[2:]] == ["0.90", "0.80"]


def test_what_only_one_seed_has_is_left_out(records: list[Record], trainings: list[Training]) -> None:
    kept = [it for it in records if it.measurement.metric == "accuracy" or it.measurement.subject.run != "resnet8-1"]
    (table,) = seed_tables(kept, trainings)
    assert row(table, "fooling rate, UAP L∞ 0.04")[2:] == ("41.00 ± 1.41", MISSING)


def test_corruptions_pool_the_severities_they_share(corruption: RecordMaker) -> None:
    known = [training("resnet8", seed) for seed in (0, 1)]
    made = [corruption("fog", at, met=5000 + 100 * at, **run_of(of)) for of in known for at in range(1, 6)]
    (table,) = seed_tables(made, known)
    assert row(table, "accuracy, fog, severities 1-5")[2:] == ("53.00 ± 0.00",)
    assert seed_tables(made[:-1], known) == []


def test_records_of_unknown_weights_are_left_out(records: list[Record]) -> None:
    assert seed_tables(records, []) == seed_tables([], []) == training_tables(records, []) == []
