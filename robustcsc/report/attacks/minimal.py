"""The smallest budgets that break images: quartiles, and the accuracy over the budget."""

from __future__ import annotations

import base64
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.artist import Artist

from robustcsc.measurements.statistics import Score
from robustcsc.records import MINIMAL, Record
from robustcsc.report.cohorts import Cohort, Subject, of_kinds
from robustcsc.report.figures import Plot, draw_line, legend_below, legend_rows, panels, share_heights, title_panel
from robustcsc.report.table import Table
from robustcsc.report.tables import Labels, labels_of
from robustcsc.report.words import attack_words, epsilon_words, norm_words, protocol_words, score_words

_MINIMAL_NOTE = (
    "The smallest budget at which an image was broken, 0 where it is misclassified when clean: found by binary search, "
    "and an upper bound, because a stronger attack may need less."
)


def minimal_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: quartiles of the smallest budget that breaks an image."""
    labels = labels_of(records)
    rows: dict[Cohort, list[tuple[str, ...]]] = defaultdict(list)
    for record in _minimal(records):
        it, budgets = record.condition, minimal_budgets(record)
        quartiles = [_quantile(budgets, share) for share in (0.25, 0.5, 0.75)]
        cells = [
            f"more than {epsilon_words(it.epsilon or 0)}" if size == math.inf else f"{size:.4g}" for size in quartiles
        ]
        resisted = score_words(Score(record.correct, record.total))
        made = protocol_words(it.protocol, it.policy)
        rows[Cohort.of(record)].append((*labels[Subject.of(record)], made, attack_words(it), *cells, resisted))
    return [
        Table(
            name=cohort.file_name("minimal-epsilon"),
            title=f"Smallest budgets: {cohort.title}",
            columns=(
                *("run", "lambda policy", "how the attack met lambda", "attack and largest budget"),
                *("first quarter", "median", "third quarter", "right at the largest"),
            ),
            rows=tuple(found),
            notes=(_MINIMAL_NOTE,),
        )
        for cohort, found in rows.items()
    ]


def minimal_plots(records: Sequence[Record]) -> list[Plot]:
    """Returns one figure per cohort: the accuracy over the budget, from the smallest budgets that break images."""
    labels = labels_of(records)
    by_place: dict[Cohort, list[Record]] = defaultdict(list)
    for record in _minimal(records):
        by_place[Cohort.of(record)].append(record)
    return [_minimal_plot(cohort, found, labels) for cohort, found in by_place.items()]


def minimal_budgets(record: Record) -> list[float]:
    """Returns the smallest budget of every image, infinity where it resisted the largest one, in their order."""
    told = json.loads(record.details)
    parts, upper = 2 ** told["levels"], record.condition.epsilon or 0.0
    levels = base64.b64decode(told["minimal"])
    return [math.inf if level == 255 else upper * level / parts for level in levels]


def _minimal(records: Iterable[Record]) -> list[Record]:
    found = of_kinds(records, (MINIMAL,))
    return sorted(
        found, key=lambda record: (Subject.of(record).rank, record.condition.norm or "", record.condition.key)
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least this share of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _minimal_plot(cohort: Cohort, records: Sequence[Record], labels: Labels) -> Plot:
    lines = [
        ", ".join((*labels[Subject.of(record)], attack_words(record.condition), record.condition.protocol))
        for record in records
    ]
    norms = sorted({record.condition.norm or "" for record in records}, reverse=True)
    figure, axes = panels(len(norms), legend_rows(lines))
    figure.set_figwidth(max(6.8, figure.get_figwidth()))
    handles: list[Artist] = []
    for ax, norm in zip(axes, norms, strict=True):
        for at, record in enumerate(records):
            if record.condition.norm == norm:
                handles.append(draw_line(ax, _curve(record), at))
        title_panel(ax, norm_words(norm), "epsilon", "accuracy (%)")
    share_heights(axes)
    ordered = [
        line for norm in norms for line, record in zip(lines, records, strict=True) if record.condition.norm == norm
    ]
    legend_below(figure, handles, ordered)
    described = f"Share of images that no smaller budget broke; lines: {'; '.join(lines)}."
    return Plot(cohort.file_name("minimal-epsilon"), f"Smallest budgets: {cohort.title}", described, figure)


def _curve(record: Record) -> Mapping[float, Score]:
    budgets = minimal_budgets(record)
    parts, upper = 2 ** json.loads(record.details)["levels"], record.condition.epsilon or 0.0
    steps = [upper * level / parts for level in range(parts + 1)]
    return {size: Score(sum(budget > size for budget in budgets), len(budgets)) for size in steps}
