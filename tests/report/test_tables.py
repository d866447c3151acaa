from collections.abc import Callable

import pytest
from scipy.stats import binomtest

from robustcsc.records import Record
from robustcsc.report import (
    Table,
    attack_tables,
    corruption_tables,
    headline_tables,
    mean_tables,
)
from robustcsc.report.cohorts import series

RecordMaker = Callable[..., Record]


def cell(table: Table, column: str, *row: str) -> str:
    (found,) = [cells for cells in table.rows if cells[: len(row)] == row]
    return found[table.columns.index(column)]


def wilson(correct: int, total: int) -> str:
    ends = binomtest(correct, total).proportion_ci(method="wilson")
    return f"{100 * correct / total:.2f} [{100 * ends.low:.2f}, {100 * ends.high:.2f}]"


def test_severities_and_their_mean_are_those_of_the_counts(records: list[Record]) -> None:
    (table,) = corruption_tables(records)
    assert cell(table, "severity 1", "sdnet", "adaptive lambda") == wilson(8476, 10000)
    assert cell(table, "mean", "sdnet", "adaptive lambda") == wilson(6492, 10000)
    assert cell(table, "mean", "resnet", "no lambda").startswith("44.43 [")
    assert cell(table, "mean", "sdnet", "training lambda").startswith("50.58 [")
    assert table.title == (
        "Gaussian noise: cifar10 test, generated corruptions, cifar10_c@1a2b3c4d, "
        "10000 images (0123456789abcdef), seed 0"
    )


def test_the_lambda_used_stands_below_its_policy(records: list[Record]) -> None:
    (table,) = corruption_tables(records)
    at = [row[1] for row in table.rows].index("adaptive lambda")
    assert table.rows[at + 1][:7] == ("sdnet", "λ used by adaptive lambda", "0.49", "0.60", "0.75", "0.84", "0.94")


def test_baselines_come_first_and_policies_in_their_order(records: list[Record]) -> None:
    (table,) = corruption_tables(records)
    shown = [row[1] for row in table.rows if not row[1].startswith("λ")]
    assert shown[:3] == ["no lambda", "training lambda", "fixed lambda 0.1"]
    assert shown[-2:] == ["adaptive lambda", "oracle lambda (uses test labels)"]


def test_oracle_rows_are_marked_everywhere(records: list[Record]) -> None:
    for build in (corruption_tables, mean_tables, headline_tables):
        (table,) = build(records)
        assert "oracle lambda (uses test labels)" in [row[1] for row in table.rows]


def test_a_mean_that_lacks_a_severity_is_not_given(records: list[Record]) -> None:
    stopped = [it for it in records if it.condition.policy != "adaptive" or it.condition.severity != 5]
    for table, column in ((corruption_tables(stopped)[0], "mean"), (mean_tables(stopped)[0], "gaussian noise")):
        assert cell(table, column, "sdnet", "adaptive lambda") == "– (4 of 5)"  # noqa: RUF001
        assert cell(table, column, "sdnet", "training lambda").startswith("50.58")


def test_the_mean_over_noises_pools_equal_totals(record: RecordMaker) -> None:
    shots = [record(correct=60, total=100, severity=s, name="shot_noise") for s in (1, 2)]
    gaussians = [record(correct=c, total=100, severity=s) for s, c in ((1, 90), (2, 50))]
    (table,) = mean_tables(shots + gaussians)
    assert table.columns == ("run", "lambda policy", "gaussian noise", "shot noise", "mean of 2 noises")
    assert table.rows[0][2:] == (wilson(70, 100), wilson(60, 100), wilson(65, 100))  # intervals of one cell
    assert "Severities 1, 2." in table.notes


def test_the_standard_mean_leaves_out_the_four_extra_corruptions(record: RecordMaker) -> None:
    names = {"fog": 80, "speckle_noise": 10, "gaussian_blur": 20, "snow": 60}
    (table,) = mean_tables([record(correct=n, total=100, severity=1, name=name) for name, n in names.items()])
    assert table.rows[0][table.columns.index("mean of 2 standard corruptions")] == wilson(70, 100)
    assert any("covers snow, fog." in note for note in table.notes)


@pytest.mark.parametrize(
    "change",
    [
        {"source": "official"},
        {"spec": "imagenet_c@99999999"},
        {"dataset": "cifar100"},
        {"split": "train"},
        {"seed": 7},
        {"total": 9999},
        {"images": "fedcba9876543210"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_different_measurements_are_never_averaged(record: RecordMaker, change: dict[str, object]) -> None:
    first = [record(correct=8000, severity=severity) for severity in (1, 2)]
    second = [record(**({"correct": 1000, "severity": severity} | change)) for severity in (1, 2)]
    for build in (corruption_tables, mean_tables):
        tables = build(first + second)
        assert len(tables) == 2
        assert len({table.title for table in tables}) == len({table.name for table in tables}) == 2
        assert sorted(table.rows[0][-1][:5] for table in tables) == ["10.00", "80.00"]
    cells = [cell for table in headline_tables(first + second) for row in table.rows for cell in row[2:]]
    assert sorted(cell[:5] for cell in cells) == ["10.00", "80.00"]


def test_titles_say_where_the_corrupted_images_come_from(record: RecordMaker) -> None:
    sources = {
        "official": "official corrupted files, ",
        "generated": "generated corruptions, ",
        "generated, 8 bit": "generated corruptions, 8 bit, ",
    }
    for source, words in sources.items():
        (table,) = corruption_tables([record(correct=1, total=2, severity=1, source=source)])
        assert f"cifar10 test, {words}cifar10_c@1a2b3c4d, 2 images" in table.title


def test_attacks_join_the_headline_of_every_source(record: RecordMaker) -> None:
    attack = record(
        correct=7, total=10, kind="attack", name="pgd", norm="l2", epsilon=0.5, steps=20, source="generated"
    )
    noisy = [record(correct=5, total=10, severity=1, source=source) for source in ("generated", "official")]
    tables = headline_tables([attack, *noisy])
    assert ["official" in table.title for table in tables] == [False, True]
    assert all(table.rows[0][3].startswith("70.00") for table in tables)
    assert all("corruptions" not in table.title for table in attack_tables([attack]))


def test_two_weights_of_one_run_have_separate_rows(record: RecordMaker) -> None:
    made = [record(correct=c, severity=1, weights=letter * 64) for c, letter in ((8000, "a"), (1000, "b"))]
    (table,) = corruption_tables(made)
    assert [row[0] for row in table.rows] == ["sdnet (sdnet18, weights aaaaaaaa)", "sdnet (sdnet18, weights bbbbbbbb)"]


def test_after_a_refit_one_series_never_mixes_two_fits(record: RecordMaker) -> None:
    def made(correct: int, severity: int, fit: str, day: int) -> Record:
        created = f"2026-01-{day:02}T00:00:00+00:00"
        return record(correct=correct, severity=severity, policy="adaptive", fit=fit, created=created)

    old = [made(1000, severity, "old", 1) for severity in (1, 2, 3)]
    new = [made(9000, severity, "new", 2) for severity in (1, 2)]
    ((_, by_severity),) = series([*new, *old]).items()
    assert {severity: it.correct for severity, it in by_severity.items()} == {1: 9000, 2: 9000}


def test_headline_cells_have_n_and_interval(records: list[Record]) -> None:
    (table,) = headline_tables(records)
    # clean and corrupted on 10000 images, PGD on 1000: each in its own column
    assert cell(table, "clean", "sdnet", "training lambda") == f"{wilson(9520, 10000)} n=10000"
    assert cell(table, "gaussian noise", "sdnet", "adaptive lambda") == f"{wilson(6492, 10000)} n=50000"
    static = "PGD L∞ 8/255, 20 steps, static (a transfer test)"
    assert cell(table, static, "sdnet", "adaptive lambda") == f"{wilson(352, 1000)} n=1000"
    assert cell(table, "PGD L∞ 8/255, 20 steps, adaptive", "sdnet", "adaptive lambda") == f"{wilson(5, 1000)} n=1000"
    assert not any("fixed" in row[1] for row in table.rows)
    assert any("transfer test" in note for note in table.notes)


def test_a_run_with_fixed_lambdas_only_keeps_its_rows(record: RecordMaker) -> None:
    (table,) = headline_tables([record(correct=5000, severity=1, policy="fixed=0.5", lam=0.5)])
    assert table.rows[0][:2] == ("sdnet", "fixed lambda 0.5")


def test_attacks_name_the_protocol_in_words(records: list[Record]) -> None:
    (table,) = attack_tables(records)
    rows = {(row[0], row[2]): row[3] for row in table.rows}
    assert table.columns[3:] == ("PGD L∞ 8/255, 20 steps",)
    transfer = "crafted at lambda_0, scored at the tuned lambda (a transfer test)"
    assert rows["sdnet", transfer] == wilson(352, 1000)
    assert rows["sdnet", "crafted through the adaptive policy"] == wilson(5, 1000)
    assert rows["resnet", "crafted on the model that is scored"] == wilson(1, 1000)


def test_attacks_of_other_budgets_norms_and_steps_have_their_own_columns(record: RecordMaker) -> None:
    attacks = [("linf", 8 / 255, 20), ("linf", 8 / 255, 200), ("linf", 0.03, 20), ("l2", 0.5, 20)]
    made = [
        record(correct=n, total=10, kind="attack", name="pgd", norm=norm, epsilon=epsilon, steps=steps)
        for n, (norm, epsilon, steps) in enumerate(attacks)
    ]
    (table,) = attack_tables(made)
    assert dict(zip(table.columns[3:], (cell[:5] for cell in table.rows[0][3:]), strict=True)) == {
        "PGD L2 0.5, 20 steps": "30.00",
        "PGD L∞ 0.03, 20 steps": "20.00",
        "PGD L∞ 8/255, 20 steps": "0.00 ",
        "PGD L∞ 8/255, 200 steps": "10.00",
    }


def test_fooling_rates_stand_apart_from_accuracies(record: RecordMaker) -> None:
    made = [
        record(correct=30, total=100, kind="attack", name="uap", norm="linf", epsilon=10 / 255, metric=metric)
        for metric in ("accuracy", "fooling_rate")
    ]
    tables = attack_tables(made)
    assert [table.title.endswith("fooling_rate") for table in tables] == [False, True]


def test_nothing_gives_no_tables() -> None:
    assert headline_tables([]) == corruption_tables([]) == mean_tables([]) == attack_tables([]) == []
