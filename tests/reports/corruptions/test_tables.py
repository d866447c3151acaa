import csv
import io
from collections.abc import Callable

import pytest
from scipy.stats import binomtest

from robustcsc.measurements.policies import Adaptive
from robustcsc.measurements.records import Record
from robustcsc.presentation.csv_table import csv_text
from robustcsc.presentation.table import Table
from robustcsc.reports.corruptions.tables import clean_tables, corruption_tables, mean_tables

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
        "Gaussian noise: cifar10 test, generated corruptions, 8 bit, cifar10_c@1a2b3c4d, "
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
    for build in (corruption_tables, mean_tables):
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


def test_a_mean_counts_each_image_once(records: list[Record]) -> None:
    (table,) = mean_tables(records)
    (row,) = [it for it in csv.DictReader(io.StringIO(csv_text(table))) if it["lambda policy"] == "adaptive lambda"]
    assert row["gaussian noise n"] == "10000"  # of five severities
    assert float(row["gaussian noise (%)"]) == pytest.approx(64.924)


def test_means_stand_beside_the_clean_accuracy_of_the_same_images(corruption: RecordMaker, clean: RecordMaker) -> None:
    made = [corruption("fog", met=50, total=100), clean(met=90, total=100), clean(met=8, total=10, images="other")]
    (table,) = mean_tables(made)
    assert headings(table) == ("run", "lambda policy", "clean", "fog")
    assert table.texts[0][2:] == (wilson(90, 100), wilson(50, 100))
    (alone,) = mean_tables(made[:1])
    assert headings(alone)[2:] == ("fog",)


def test_whole_groups_have_means_and_a_mean_that_nobody_has_is_left_out(corruption: RecordMaker) -> None:
    weather = {"snow": 10, "frost": 20, "fog": 30, "brightness": 40}
    others = {"gaussian_noise": 50, "shot_noise": 60, "contrast": 70}
    first = [corruption(name, met=n, total=100) for name, n in {**weather, **others}.items()]
    (table,) = mean_tables(first)
    assert cell(table, "mean of 4 weather corruptions") == wilson(25, 100)
    assert cell(table, "mean of 2 noises") == wilson(55, 100)
    assert cell(table, "mean of 7 standard corruptions") == wilson(40, 100)
    assert not any("digital" in heading for heading in headings(table))
    assert "The mean of 4 weather corruptions covers snow, frost, fog, brightness." in table.notes
    (table,) = mean_tables([*first[:6], corruption("contrast", met=1, total=100, run="other")])
    assert not any("standard" in it for it in (*headings(table), *table.notes))


def test_what_no_verdict_credits_has_its_clean_accuracy_where_no_corruption_was_measured(
    corruption: RecordMaker, clean: RecordMaker
) -> None:
    oracle, train = clean(met=90, total=100, policy="oracle"), clean(met=80, total=100, policy="train")
    (table,) = clean_tables([oracle, train])
    assert [row[1:] for row in table.texts] == [
        ("training lambda", wilson(80, 100)),
        ("oracle lambda (uses test labels)", wilson(90, 100)),
    ]
    assert clean_tables([train]) == []  # the verdict has it
    assert clean_tables([oracle, corruption(met=1, total=100)]) == []  # the means have it


def test_two_versions_of_published_files_have_tables_of_their_own(corruption: RecordMaker) -> None:
    made = [corruption(met=c, total=100, source="official", files=files) for c, files in ((80, "one"), (60, "two"))]
    first, second = mean_tables(made)
    assert "files one" in first.title and "files two" in second.title
    assert (cell(first, "gaussian noise"), cell(second, "gaussian noise")) == (wilson(80, 100), wilson(60, 100))


def test_a_run_with_fixed_lambdas_only_keeps_its_rows(corruption: RecordMaker) -> None:
    (table,) = mean_tables([corruption(met=5000, policy="fixed=0.5", lam=0.5)])
    assert table.rows[0][:2] == ("sdnet", "fixed lambda 0.5")


def test_the_standard_mean_leaves_out_the_four_extra_corruptions(corruption: RecordMaker) -> None:
    names = {"fog": 80, "speckle_noise": 10, "gaussian_blur": 20, "snow": 60}
    (table,) = mean_tables([corruption(name, met=n, total=100) for name, n in names.items()])
    assert cell(table, "mean of 2 standard corruptions") == wilson(70, 100)
    assert any("covers snow, fog." in note for note in table.notes)


@pytest.mark.parametrize(
    "change",
    [
        {"source": "official"},
        {"pixels": "float"},
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


def test_titles_say_where_the_corrupted_images_come_from(corruption: RecordMaker) -> None:
    sources = {
        ("official", "float"): "official corrupted files, ",
        ("generated", "float"): "generated corruptions, floats, ",
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
    assert corruption_tables([]) == mean_tables([]) == corruption_tables([clean(met=1)]) == clean_tables([]) == []
