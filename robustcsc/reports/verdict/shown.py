"""A verdict as one small table and one chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.policies import Adaptive, NoLambda, lambda_of
from robustcsc.presentation.chart import Chart, dot_plot
from robustcsc.presentation.table import Cell, Column, Noted, Table
from robustcsc.presentation.words import enumerated
from robustcsc.reports.cohorts.cells import percentages
from robustcsc.reports.cohorts.cohorts import Cohort, apart
from robustcsc.reports.cohorts.words import NOISES, corruption_words, precision_words, severities_words, source_words
from robustcsc.reports.corruptions.baselines import GENERATED
from robustcsc.reports.corruptions.charts import ACCURACY
from robustcsc.reports.verdict.facts import Condition, Kind, Ratios, Result, Verdict
from robustcsc.reports.verdict.sentences import condition_words, mce_words, row_words

_ACCURACY = "Accuracy in percent with 95 % intervals over the images, not over trainings."
_UNPAIRED = (
    "Not paired: single outcomes were not kept, so intervals of differences take the images for independent ones."
)
_ADAPTIVE = "An adaptive lambda is one for the whole set of images unless it says per image"
_TOLD = "there is a fit for each type of noise, so the type is told, not guessed"
_RATIOS = (
    "mCE: errors in percent of those of {}, each of the 15 standard corruptions over the severities 1-5, then their "
    "mean. Lower is better."
)
_SEEDS = (
    "Over several training seeds: mean ± standard deviation; intervals of differences do not cover another training."
)


def verdict_tables(found: Sequence[Verdict]) -> list[Table]:
    """Returns for each verdict who is how accurate under what: a row for each model and policy that matters."""
    return [_table(name, verdict) for name, verdict in _named(found)]


def verdict_charts(found: Sequence[Verdict]) -> list[Chart]:
    """Returns the accuracies of each table as dots, where there are two at least."""
    return [_chart(name, it) for name, it in _named(found) if sum(len(row.results) for row in it.rows) > 1]


def _named(found: Sequence[Verdict]) -> list[tuple[str, Verdict]]:
    """Returns the verdicts with the names of their files."""
    return [(f"verdict-{at}" if at else "verdict", verdict) for at, verdict in enumerate(found)]


def _table(name: str, verdict: Verdict) -> Table:
    lambdas = any(row.policy != NoLambda() for row in verdict.rows)
    rows = []
    for row in verdict.rows:
        model, policy = row_words(row)
        cells = [_cell(it, row.results.get(it)) for it in verdict.conditions]
        cells += [verdict.ratios.cell(row)] if verdict.ratios else []
        rows.append((model, *([policy] if lambdas else []), *cells))
    words = ("model", "lambda policy") if lambdas else ("model",)
    headings = [*map(condition_words, verdict.conditions), *([mce_words(verdict.ratios)] if verdict.ratios else [])]
    columns = (*map(Column, words), *percentages(headings, digits=1))
    return Table(name, _title(verdict), columns, tuple(rows), tuple(_notes(verdict)))


def _chart(name: str, verdict: Verdict) -> Chart:
    rows = {
        ", ".join(row_words(row)[: 1 if row.policy == NoLambda() else 2]): [
            row.results[it].estimate if it in row.results else None for it in verdict.conditions
        ]
        for row in verdict.rows
    }
    headings = [condition_words(it) for it in verdict.conditions]
    described = f"Accuracy in percent with 95 % intervals: {'; '.join(headings)}."
    return dot_plot(name, _title(verdict), described, ACCURACY, headings, rows)


def _title(verdict: Verdict) -> str:
    cohort = verdict.main.cohort
    source = [source_words(cohort.origin)] if cohort.origin else []
    source += [f"seed {cohort.seed}", *precision_words(cohort.precision)]
    return ", ".join([f"{cohort.dataset} {cohort.split}", f"{cohort.total:,} images", *source])


def _cell(condition: Condition, result: Result | None) -> Cell:
    if result is None:
        return None
    if condition.kind is Kind.ATTACK and result.transfer:
        return Noted(result.cell, "transfer only")
    return result.cell


def _notes(verdict: Verdict) -> Sequence[str]:
    notes = [_ACCURACY, *(covered(it) for it in verdict.conditions if len(it.names) > 1)]
    total = verdict.main.cohort.total
    notes += columns_note(
        {condition_words(it): f"{n:,} images" for it in verdict.conditions if (n := it.cohort.total) != total}
    )
    notes += _related(verdict, verdict.ratios) if verdict.ratios else []
    notes += [_elsewhere(verdict)] if verdict.elsewhere else []
    adaptive = [row for row in verdict.rows if isinstance(lambda_of(row.policy), Adaptive)]
    if adaptive:
        told = any(result.told for row in adaptive for result in row.results.values())
        notes.append(f"{_ADAPTIVE}; {_TOLD}." if told else f"{_ADAPTIVE}.")
    if any(it.difference.p_value is None for it in verdict.contrasts):
        notes.append(_UNPAIRED)
    if any(len(row.subjects) > 1 for row in verdict.rows):
        notes.append(_SEEDS)
    if verdict.left_out:
        notes.append(f"{verdict.left_out} more rows stand in the other tables.")
    return notes


def _related(verdict: Verdict, ratios: Ratios) -> list[str]:
    comparable = ratios.baseline.suits(_corrupted(verdict))
    return [_RATIOS.format(ratios.baseline.name), *([] if comparable else [GENERATED])]


def _elsewhere(verdict: Verdict) -> str:
    """Says which of several sets of corrupted images the verdict is about, and which ones are left to other tables."""
    chosen = _corrupted(verdict)
    together = (chosen, *verdict.elsewhere)
    others = "; ".join(apart(it, together) for it in verdict.elsewhere)
    here = apart(chosen, together)
    return f"Several sets of corrupted images were measured, which never meet; here: {here}. In other tables: {others}."


def _corrupted(verdict: Verdict) -> Cohort:
    """Returns what the corrupted images of a verdict share."""
    return next(it.cohort for it in verdict.conditions if it.names)


def columns_note(told: Mapping[str, str]) -> list[str]:
    """Returns a sentence for all columns of which the same is told; none of those of which nothing is.

    Examples:
        >>> columns_note({"clean": "", "L∞": "500 images", "L2": "500 images"})
        ["Columns 'L∞' and 'L2': 500 images."]
    """
    by_words: dict[str, list[str]] = {}
    for heading, words in told.items():
        by_words.setdefault(words, []).append(repr(heading))
    return [f"Column{'s' if len(of) > 1 else ''} {enumerated(of)}: {words}." for words, of in by_words.items() if words]


def covered(condition: Condition) -> str:
    """Says what a mean covers."""
    names = ", ".join(map(corruption_words, condition.names))
    if condition.names == STANDARD_CORRUPTIONS:
        names = "the standard ones"
    elif condition.kind is Kind.NOISE and len(condition.names) == len(NOISES):
        names = ", ".join(corruption_words(name).removesuffix(" noise") for name in condition.names)
    spans = dict.fromkeys(map(severities_words, condition.severities))
    return f"The {condition_words(condition)}: {names}; severities {' or '.join(spans)}."
