"""Accuracy by corruption and severity as a map: one panel per row of the tables, the same colours in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from robustcsc.measurements.statistics import Score
from robustcsc.records import Record
from robustcsc.report.cohorts import Series, Setting, Subject, by_cohort, severities_of, without_fixed
from robustcsc.report.figures import MOST_MAPS, Plot, left_out, panels, verbatim
from robustcsc.report.tables import labels_of, ranked
from robustcsc.report.words import corruption_rank, corruption_words

_ROW, _HEAD = 0.19, 1.0  # inches
_DARK = 55
"""Percent; below, the colour is dark and its number is written in white."""


def heat_maps(records: Sequence[Record]) -> list[Plot]:
    """Returns one figure per cohort of at least two corruptions: a panel per run and lambda policy, in percent."""
    labels = labels_of(records)
    plots = []
    for cohort, settings in by_cohort(records).items():
        rows = _corrupted(settings)
        everyone = without_fixed(ranked(subject for by_subject in rows.values() for subject in by_subject))
        if len(rows) < 2 or cohort.metric != "accuracy":
            continue
        severities = severities_of(series for by_subject in rows.values() for series in by_subject.values())
        subjects = everyone[:MOST_MAPS]
        figure, axes = panels(len(subjects), 0)
        columns = 2 if len(subjects) == 4 else min(len(subjects), 3)
        lines = -(-len(subjects) // columns)
        figure.set_size_inches(figure.get_figwidth() + 0.8, lines * (_ROW * len(rows) + _HEAD))
        for ax, subject in zip(axes, subjects, strict=True):
            _draw(ax, {name: by_subject.get(subject, {}) for name, by_subject in rows.items()}, severities)
            ax.set_title(verbatim("\n".join(labels[subject])), fontsize=8.5, loc="left")
        names = "; ".join(", ".join(labels[subject]) for subject in subjects)
        described = f"Accuracy in percent. Panels: {names}. "
        described += f"Rows: {', '.join(map(corruption_words, rows))}. Empty: not measured."
        described += left_out(len(everyone), MOST_MAPS, "rows")
        title = f"Accuracy by corruption and severity: {cohort.title}"
        plots.append(Plot(cohort.file_name("map"), title, described, figure))
    return plots


def _corrupted(settings: Mapping[Setting, Mapping[Subject, Series]]) -> dict[str, Mapping[Subject, Series]]:
    rows = {setting.name: by_subject for setting, by_subject in settings.items() if setting.kind == "corruption"}
    return {name: rows[name] for name in sorted(rows, key=corruption_rank)}


def _draw(ax: Axes, rows: Mapping[str, Series], severities: Sequence[int]) -> None:
    values = np.array([[_percent(series.get(severity)) for severity in severities] for series in rows.values()])
    ax.imshow(np.ma.masked_invalid(values), cmap="cividis", vmin=0, vmax=100, aspect="auto")
    ax.grid(visible=False)
    ax.set_xticks(range(len(severities)), [str(severity) for severity in severities])
    ax.set_yticks(range(len(rows)), [corruption_words(name) for name in rows])
    ax.tick_params(labelsize=7.5, length=0)
    ax.set_xlabel("severity", fontsize=8.5)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = "white" if value < _DARK else "black"
            ax.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=6.5, color=ink)


def _percent(record: Record | None) -> float:
    return float("nan") if record is None else 100 * Score(record.correct, record.total).accuracy
