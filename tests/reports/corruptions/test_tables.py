from collections.abc import Callable

import pytest
from scipy.stats import binomtest

from robustcsc.measurements.policies import Adaptive
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Table
from robustcsc.reports.corruptions.tables import corruption_tables, mean_tables
from robustcsc.reports.summary.headline import headline_tables

RecordMaker = Callable[..., Record]


def headings(table: Table) -> tuple[str, ...]:
    return tuple(column.heading for column in table.columns)


def cell(table: Table, column: str, *row: str) -> str:
    (found,) = [cells for cells in table.texts if cells[: len(row)] == row]
    return found[headings(table).index(column)]


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
    assert table.texts[at + 1][:7] == ("sdnet", "λ used by adaptive lambda", "0.49", "0.60", "0.75", "0.84", "0.94")


def test_baselines_come_first_and_policies_in_their_order(records: list[Record]) -> None:
    (table,) = corruption_tables(records)
    shown = [row[1] for row in table.texts if not row[1].startswith("λ")]
    assert shown[:3] == ["no lambda", "training lambda", "fixed lambda 0.1"]
    assert shown[-2:] == ["adaptive lambda", "oracle lambda (uses test labels)"]


def test_oracle_rows_are_marked_everywhere(records: list[Record]) -> None:
    for build in (corruption_tables, mean_tables, headline_tables):
        (table,) = build(records)
        assert "oracle lambda (uses test labels)" in [row[1] for row in table.rows]


def test_a_mean_that_lacks_a_severity_is_not_given(records: list[Record], corruption: RecordMaker) -> None:
    hardest = corruption("gaussian_noise", 5, met=1).measurement.perturbation
    stopped = [
        it
        for it in records
        if not isinstance(it.measurement.policy, Adaptive) or it.measurement.perturbation != hardest
    ]
    assert len(stopped) == len(records) - 1
    for table, column in ((corruption_tables(stopped)[0], "mean"), (mean_tables(stopped)[0], "gaussian noise")):
        assert cell(table, column, "sdnet", "adaptive lambda") == "– (4 of 5)"  # noqa: RUF001
        assert cell(table, column, "sdnet", "training lambda").startswith("50.58")


def test_the_mean_over_noises_pools_equal_totals(corruption: RecordMaker) -> None:
    shots = [corruption("shot_noise", s, met=60, total=100) for s in (1, 2)]
    gaussians = [corruption("gaussian_noise", s, met=c, total=100) for s, c in ((1, 90), (2, 50))]
    (table,) = mean_tables(shots + gaussians)
    assert headings(table) == ("run", "lambda policy", "gaussian noise", "shot noise", "mean of 2 noises")
    assert table.texts[0][2:] == (wilson(70, 100), wilson(60, 100), wilson(65, 100))  # intervals of one cell
    assert "Severities 1, 2." in table.notes


def test_the_standard_mean_leaves_out_the_four_extra_corruptions(corruption: RecordMaker) -> None:
    names = {"fog": 80, "speckle_noise": 10, "gaussian_blur": 20, "snow": 60}
    (table,) = mean_tables([corruption(name, met=n, total=100) for name, n in names.items()])
    assert cell(table, "mean of 2 standard corruptions") == wilson(70, 100)
    assert any("covers snow, fog." in note for note in table.notes)


@pytest.mark.parametrize(
    "change",
    [
        {"source": "official"},
        {"pixels": "8 bit"},
        {"table": "imagenet_c@99999999"},
        {"dataset": "cifar100"},
        {"split": "train"},
        {"seed": 7},
        {"total": 9999},
        {"images": "fedcba9876543210"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_different_measurements_are_never_averaged(corruption: RecordMaker, change: dict[str, object]) -> None:
    first = [corruption(severity=severity, met=8000) for severity in (1, 2)]
    second = [corruption(severity=severity, **{"met": 1000, **change}) for severity in (1, 2)]
    for build in (corruption_tables, mean_tables):
        tables = build(first + second)
        assert len(tables) == 2
        assert len({table.title for table in tables}) == len({table.name for table in tables}) == 2
        assert sorted(table.texts[0][-1][:5] for table in tables) == ["10.00", "80.00"]
    cells = [
        text
        for table in headline_tables(first + second)
        for row, texts in zip(table.rows, table.texts, strict=True)
        for cell, text in zip(row[2:], texts[2:], strict=True)
        if cell is not None
    ]
    assert sorted(cell[:5] for cell in cells) == ["10.00", "80.00"]


def test_titles_say_where_the_corrupted_images_come_from(corruption: RecordMaker) -> None:
    sources = {
        ("official", "float"): "official corrupted files, ",
        ("generated", "float"): "generated corruptions, ",
        ("generated", "8 bit"): "generated corruptions, 8 bit, ",
        ("exported", "8 bit"): "generated corruptions, 8 bit, from files, ",
    }
    for (source, pixels), words in sources.items():
        (table,) = corruption_tables([corruption(met=1, total=2, source=source, pixels=pixels)])
        assert f"cifar10 test, {words}cifar10_c@1a2b3c4d, 2 images" in table.title


def test_two_weights_of_one_run_have_separate_rows(corruption: RecordMaker) -> None:
    made = [corruption(met=c, weights=letter * 64) for c, letter in ((8000, "a"), (1000, "b"))]
    (table,) = corruption_tables(made)
    assert [row[0] for row in table.rows] == ["sdnet (sdnet18, weights aaaaaaaa)", "sdnet (sdnet18, weights bbbbbbbb)"]


def test_nothing_gives_no_tables(clean: RecordMaker) -> None:
    assert corruption_tables([]) == mean_tables([]) == corruption_tables([clean(met=1)]) == []
