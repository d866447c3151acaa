from collections.abc import Callable
from statistics import stdev
from typing import Any

import pytest

from robustcsc.measurements.trainings import Training
from robustcsc.records import FOOLING, Record
from robustcsc.report.table import Table
from robustcsc.report.trainings import seed_tables, trained_models
from robustcsc.report.words import MISSING

RecordMaker = Callable[..., Record]


def training(model: str, seed: int, **changes: Any) -> Training:
    options = {"num_steps": 3} if model.startswith("detrame-") else {}
    fields: dict[str, Any] = {
        "weights": f"{model} {seed}",
        "model": model,
        "options": options,
        "parameters": 131_000 if options else 78_042,
        "data": "imagefolder",
        "trained_on": 45_000,
        "images": "feed",
        "recipe": {"epochs": 16},
        "augment": "none",
        "adversarial": None,
        "precision": "32-true",
        "epochs": 16,
        "seed": seed,
        "seconds": 100.0 + seed,
    }
    return Training(**(fields | changes))


def measured(record: RecordMaker, of: Training, correct: int, **changes: Any) -> Record:
    about = {"run": f"{of.model}-{of.seed}", "model": of.model, "weights": of.weights, "policy": "none"}
    condition = {"kind": "clean", "name": "clean", "dataset": "cifar10-jpeg"} | changes
    return record(correct=correct, **(about | condition))


@pytest.fixture
def trainings() -> list[Training]:
    return [training(model, seed) for model in ("resnet8", "detrame-resnet8") for seed in (0, 1)]


@pytest.fixture
def records(record: RecordMaker, trainings: list[Training]) -> list[Record]:
    """Accuracies 80, 79, 83 and 84 %, and fooling rates 30, 32, 40 and 42 % for each of two crafting seeds."""
    made = [measured(record, of, correct) for of, correct in zip(trainings, (8000, 7900, 8300, 8400), strict=True)]
    attack: dict[str, Any] = {"kind": "uap", "name": "uap", "norm": "linf", "epsilon": 0.04, "steps": 10}
    attack |= {"metric": FOOLING, "protocol": "plain"}
    for of, correct in zip(trainings, (3000, 3200, 4000, 4200), strict=True):
        made += [measured(record, of, correct + 100 * sign, seed=sign + 1, **attack) for sign in (-1, 1)]
    return made


def row(table: Table, *starts: str) -> tuple[str, ...]:
    (found,) = [cells for cells in table.rows if cells[: len(starts)] == starts]
    return found


def test_the_spread_is_that_over_training_seeds(records: list[Record], trainings: list[Training]) -> None:
    (table,) = seed_tables(trained_models(records, trainings))
    assert table.columns == ("", "images", "detrame-resnet8", "resnet8")
    assert row(table, "training seeds")[2:] == ("0, 1", "0, 1")
    assert row(table, "parameters")[2:] == ("131000", "78042")
    assert row(table, "training time (s)")[2:] == ("100", "100")  # 100.5, to even
    spread = f"{stdev([79, 80]):.2f}"
    assert row(table, "clean accuracy")[2:] == (f"83.50 ± {spread}", f"79.50 ± {spread}")
    assert row(table, "fooling rate, UAP L∞ 0.04")[2:] == ("41.00 ± 1.41", "31.00 ± 1.41")


def test_trainings_that_differ_in_more_than_the_seed_stand_apart(records: list[Record]) -> None:
    known = [training("resnet8", 0), training("resnet8", 1, epochs=20, recipe={"epochs": 20})]
    models = trained_models(records, known)
    assert [len(model.trainings) for model in models] == [1, 1]
    (table,) = seed_tables(models)
    assert row(table, "clean accuracy")[2:] == ("80.00 [79.20, 80.77]", "79.00 [78.19, 79.79]")


def test_what_only_one_seed_has_is_left_out(records: list[Record], trainings: list[Training]) -> None:
    kept = [it for it in records if it.condition.kind == "clean" or it.condition.run != "resnet8-1"]
    (table,) = seed_tables(trained_models(kept, trainings))
    assert row(table, "fooling rate, UAP L∞ 0.04")[2:] == ("41.00 ± 1.41", MISSING)


def test_corruptions_pool_the_severities_they_share(record: RecordMaker) -> None:
    known = [training("resnet8", seed) for seed in (0, 1)]
    made = [
        measured(record, of, 5000 + 100 * severity, kind="corruption", name="fog", severity=severity)
        for of in known
        for severity in range(1, 6)
    ]
    (table,) = seed_tables(trained_models(made, known))
    assert row(table, "accuracy, fog, severities 1-5")[2:] == ("53.00 ± 0.00",)
    assert not trained_models(made[:-1], known)[0].spreads


def test_records_of_unknown_weights_are_left_out(records: list[Record]) -> None:
    assert trained_models(records, []) == []
    assert seed_tables([]) == []
