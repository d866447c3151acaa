"""Accuracy by corruption and severity as a map: one panel per row of the tables, the same colours in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustcsc.measurements.records import Metric, Record
from robustcsc.presentation.chart import MOST_MAPS, Chart, HeatMap, left_out
from robustcsc.reports.cohorts.cohorts import Rows, Variant, by_cohort, corruptions_of, labels_of, score, severities_of
from robustcsc.reports.cohorts.words import corruption_words
from robustcsc.reports.corruptions.charts import drawn


def heat_maps(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort of at least two corruptions: a map per run and lambda policy, in percent."""
    labels = labels_of(records)
    charts = []
    for cohort, settings in by_cohort(records).items():
        rows = corruptions_of(settings)
        everyone = drawn(rows.values())
        if len(rows) < 2 or cohort.metric is not Metric.ACCURACY:
            continue
        shown = everyone[:MOST_MAPS]
        severities = severities_of(series for by_variant in rows.values() for series in by_variant.values())
        described = f"Accuracy in percent. Panels: {'; '.join(', '.join(labels[it]) for it in shown)}. "
        described += f"Rows: {', '.join(map(corruption_words, rows))}. Empty: not measured."
        charts.append(
            Chart(
                name=cohort.file_name("map"),
                title=f"Accuracy by corruption and severity: {cohort.title}",
                description=described + left_out(len(everyone), MOST_MAPS, "rows"),
                panels=tuple(_heat_map("\n".join(labels[it]), rows, it, severities) for it in shown),
            )
        )
    return charts


def _heat_map(title: str, rows: Mapping[str, Rows], variant: Variant, severities: Sequence[int]) -> HeatMap:
    measured = (by_variant.get(variant, {}) for by_variant in rows.values())
    values = tuple(
        tuple(100 * score(series[it]).accuracy if it in series else None for it in severities) for series in measured
    )
    return HeatMap(title, "severity", tuple(map(corruption_words, rows)), tuple(map(str, severities)), values)
