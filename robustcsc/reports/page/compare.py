"""Any two rows side by side: the numbers that the page's script shows of the two that a reader chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from robustcsc.measurements.policies import Oracle, lambda_of
from robustcsc.measurements.records import Record
from robustcsc.presentation.chart import MOST_LINES
from robustcsc.reports.cohorts.cells import summary_columns
from robustcsc.reports.cohorts.cohorts import Variant, apart, total_score
from robustcsc.reports.cohorts.words import corruption_words
from robustcsc.reports.comparisons.differences import difference
from robustcsc.reports.corruptions.corrupted import Corrupted, corrupted

_Cells = Mapping[Variant, Sequence[Record]]
"""What was measured of each row under one condition: all cells that a mean needs."""


def comparisons(records: Sequence[Record]) -> list[dict[str, object]]:
    """Returns, in types that `json` writes, one comparison for each set of images with at least two rows.

    ``title`` says on which images where there are several, ``rows`` are names of runs and policies, ``conditions`` hold
    what was done to the images: ``words``, ``accuracies`` by row (percent and the ends of its interval, null where the
    mean is not whole), and ``differences`` of each two rows ``"0-1"``, first minus second in percentage points, with
    the ends of their interval. ``chosen`` are the rows to begin with. Of many rows the first `MOST_LINES` are kept.
    """
    found = [cells for cells in corrupted(records) if len(cells.variants) > 1]
    return [_comparison(cells, apart(cells.cohort, (it.cohort for it in found))) for cells in found]


def _comparison(cells: Corrupted, title: str) -> dict[str, object]:
    rows = cells.variants[:MOST_LINES]
    summaries = {heading: names for heading, names in summary_columns(list(cells.rows))}
    measured = {
        "clean": {it: [cells.clean[it]] for it in rows if it in cells.clean},
        **{heading: _whole(cells, rows, names) for heading, names in summaries.items()},
        **{corruption_words(name): _whole(cells, rows, [name]) for name in cells.rows},
    }
    return {
        "title": title,
        "rows": [", ".join(cells.labels[it]) for it in rows],
        "conditions": [_condition(words, of, rows) for words, of in measured.items() if len(of) > 1],
        "chosen": _chosen(rows),
    }


def _whole(cells: Corrupted, rows: Sequence[Variant], names: Sequence[str]) -> _Cells:
    parts = {it: cells.parts(it, names) for it in rows}
    return {
        it: [series[severity] for series, wanted in of for severity in wanted]
        for it, of in parts.items()
        if all(set(wanted) <= set(series) for series, wanted in of)
    }


def _condition(words: str, measured: _Cells, rows: Sequence[Variant]) -> dict[str, object]:
    scores = [total_score(measured[it]) if it in measured else None for it in rows]
    differences = {}
    for one, other in combinations(range(len(rows)), 2):
        if rows[one] in measured and rows[other] in measured:
            found = difference(measured[rows[one]], measured[rows[other]])
            differences[f"{one}-{other}"] = _numbers(found.points, found.low, found.high)
    accuracies = [score and _numbers(*(100 * it for it in (score.rate, *score.interval))) for score in scores]
    return {"words": words, "accuracies": accuracies, "differences": differences}


def _chosen(rows: Sequence[Variant]) -> tuple[int, int]:
    """Returns the last row that needs no test labels, and the first one of another run: its baseline if it has one."""
    last = max((at for at, it in enumerate(rows) if lambda_of(it.policy) != Oracle()), default=len(rows) - 1)
    return last, next((at for at, it in enumerate(rows) if it.subject != rows[last].subject), 0)


def _numbers(*values: float) -> list[float]:
    return [round(it, 4) for it in values]
