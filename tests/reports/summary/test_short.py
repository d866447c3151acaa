from __future__ import annotations

from collections.abc import Callable

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Table
from robustcsc.reports.page.sections import Report, report_sections
from robustcsc.reports.summary.short import short_tables, story, terminal_tables

RecordMaker = Callable[..., Record]
MEASURED = {"train": 5000, "adaptive": 6000}


def kinds(tables: list[Table]) -> list[str]:
    """The beginnings of the titles."""
    return [table.title.partition(":")[0] for table in tables]


def test_each_kind_of_measurement_has_its_tables(
    clean: RecordMaker, corruption: RecordMaker, attack: RecordMaker, random_noise: RecordMaker
) -> None:
    assert kinds(short_tables([clean(met=1)])) == ["Headline"]
    assert kinds(short_tables([corruption("fog", met=1)])) == ["Headline", "Fog"]
    assert kinds(short_tables([attack(met=1)])) == ["Attacks"]
    assert kinds(short_tables([attack(met=1), attack("fgsm", met=1)])) == ["Attack by attack"]
    assert "oise" in short_tables([random_noise(met=1)])[0].title


def test_a_report_in_the_terminal_has_the_errors_and_leaves_long_tables_to_the_page(corruption: RecordMaker) -> None:
    made = [corruption(name, severity, met=5) for name in STANDARD_CORRUPTIONS for severity in range(1, 6)]
    tables = terminal_tables(report_sections(Report(title="t", records=made)))
    errors = next(table for table in tables if table.title.startswith("Corruption errors"))
    assert [column.heading for column in errors.columns][3:6] == ["images", "clean", "gaussian noise"]
    assert not any(table.title.startswith("Accuracy by corruption and severity") for table in tables)


def test_the_story_tells_the_means_and_the_gains_over_the_training_lambda(corruption: RecordMaker) -> None:
    made = [
        corruption(name, met=correct, policy=policy)
        for name in ("gaussian_noise", "shot_noise")
        for policy, correct in MEASURED.items()
    ]
    headline, gains = story(made)
    assert [column.heading for column in headline.columns] == ["run", "lambda policy", "mean of 2 noises"]
    assert gains.title == "What the adaptive lambda gained over the training lambda"
    assert all("+10.00" in text for text in (" ".join(row) for row in gains.texts))


def test_the_story_takes_no_run_for_the_training_lambda(clean: RecordMaker, corruption: RecordMaker) -> None:
    named = {"run": "training lambda", "weights": "0" * 64}
    made = [make(met=correct, policy=policy) for make in (clean, corruption) for policy, correct in MEASURED.items()]
    _, gains = story([*made, clean(met=100, **named), corruption(met=100, **named)])
    (row,) = gains.texts
    assert row[1] == "gaussian noise" and "+10.00" in row[2]
