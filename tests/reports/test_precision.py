"""Counts in float32 and in bfloat16 stand side by side and never meet."""

from __future__ import annotations

from collections.abc import Callable

from robustcsc.measurements.facts import replace
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import Record
from robustcsc.reports.attacks.fooling import fooling_tables
from robustcsc.reports.cohorts.cohorts import by_cohort
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.comparisons.leaderboard import leaderboards
from robustcsc.reports.corruptions.tables import corruption_tables
from robustcsc.reports.papers.papers import paper_tables
from robustcsc.reports.summary.lambda_fits import fit_tables
from robustcsc.reports.summary.provenance import provenance_table
from robustcsc.reports.verdict.judge import verdicts
from robustcsc.reports.verdict.sentences import verdict_sentences
from robustcsc.reports.verdict.shown import verdict_tables

RecordMaker = Callable[..., Record]


def both(make: RecordMaker, **how: object) -> list[Record]:
    """Returns 80 % in float32 and 40 % in bfloat16."""
    return [make(met=8000, **how), make(met=4000, precision="bf16", **how)]


def test_a_mean_is_of_one_precision(corruption: RecordMaker) -> None:
    cells = [(name, severity) for name in ("gaussian_noise", "shot_noise") for severity in (1, 2)]
    records = joined([it for name, severity in cells for it in both(corruption, name=name, severity=severity)])
    assert [cohort.precision for cohort in by_cohort(records)] == ["fp32", "bf16"]
    seen = set()
    for table in corruption_tables(records):
        reduced, text = "computed in bf16" in table.title, repr(table.texts)
        seen.add(reduced)
        assert ("40.00" in text, "80.00" in text) == (reduced, not reduced)
        assert "60.00" not in text
    assert seen == {False, True}


def test_a_verdict_is_about_one_precision_and_says_which_unless_it_is_float32(
    corruption: RecordMaker, attack: RecordMaker, clean: RecordMaker
) -> None:
    noise = [it for name in ("gaussian_noise", "shot_noise") for it in both(corruption, name=name)]
    # One has the attack, the other the clean images: they must not fill each other's columns.
    records = joined([*noise, attack(met=10, total=10000, precision="bf16"), clean(met=9000)])
    found = verdicts(records)
    titles = [table.title for table in verdict_tables(found)]
    assert sorted("computed in bf16" in title for title in titles) == [False, True]
    for table, verdict in zip(verdict_tables(found), found, strict=True):
        assert len(table.rows) == 1
        assert {it.cohort.precision for it in verdict.conditions} == {verdict.main.cohort.precision}
    assert any(said.startswith("cifar10 test, computed in bf16: ") for said in verdict_sentences(found))
    (alone,) = verdicts(joined([it for it in records if it.measurement.precision == "fp32"]))
    assert not any("computed in" in said for said in verdict_sentences([alone]))


def test_rankings_and_fooling_rates_are_of_one_precision(clean: RecordMaker, random_noise: RecordMaker) -> None:
    boards = leaderboards(both(clean))
    assert [(board.images[-1], len(board.entries)) for board in boards] == [("bf16", 1), ("fp32", 1)]
    tables = fooling_tables(both(random_noise))
    assert [(len(table.rows), "computed in bf16" in table.title) for table in tables] == [(1, True), (1, False)]


def test_papers_are_compared_with_float32(records: list[Record]) -> None:
    reduced = [replace(it, measurement=replace(it.measurement, precision="bf16"), met=it.total) for it in records]
    plain = [table.texts for table in paper_tables("sdnet", records)]
    assert [table.texts for table in paper_tables("sdnet", [*reduced, *records])] == plain


def test_provenance_says_precision_card_driver_and_rounding(clean: RecordMaker) -> None:
    full, reduced = both(clean)
    how = replace(full.provenance, device="NVIDIA H200", driver="570.86.15", tf32=False)
    table = provenance_table([replace(full, provenance=how), reduced])
    rows = [dict(zip((it.heading for it in table.columns), row, strict=True)) for row in table.texts]
    assert {(row["precision"], row["device"]) for row in rows} == {
        ("fp32", "NVIDIA H200, driver 570.86.15, no TF32"),
        ("bf16", "cpu"),
    }


def test_fits_in_two_precisions_have_tables_of_their_own(fit: Callable[..., LambdaFit]) -> None:
    tables = fit_tables([fit(), replace(fit(), precision="bf16")])
    assert len(fit_tables([fit()])) == 2 and len(tables) == 4
    assert sum(", computed in bf16" in table.title for table in tables) == 2
    assert len({table.name for table in tables}) == 4
