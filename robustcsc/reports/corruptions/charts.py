"""Charts of accuracies on corrupted images: by severity, by noise, over lambda, and as maps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from robustcsc.measurements.policies import FixedLambda
from robustcsc.measurements.records import Record
from robustcsc.presentation.chart import (
    MOST_MAPS,
    MOST_PANELS,
    Chart,
    HeatMap,
    Panel,
    dot_plot,
    left_out,
    levelled_series,
    line_chart,
    percent_line,
)
from robustcsc.presentation.table import Estimate
from robustcsc.reports.cohorts.cells import curve_of, estimate
from robustcsc.reports.cohorts.cohorts import Labels, Rows, Variant, pool, score
from robustcsc.reports.cohorts.words import NOISES, corruption_words
from robustcsc.reports.corruptions.corrupted import Corrupted, corrupted

ACCURACY = "accuracy (%)"

Curves = Mapping[str, Mapping[float, Estimate]]
"""Lines by name: accuracies by lambda."""


def severity_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort: accuracy by severity, a panel per corruption, bands = 95 % intervals."""
    return [_severity_chart(cells) for cells in corrupted(records)]


def _severity_chart(cells: Corrupted) -> Chart:
    words = {name: corruption_words(name) for name in cells.rows}
    return line_chart(
        cells.cohort.file_name("severity"),
        cells.cohort.titled("Accuracy by severity"),
        f"{len(words)} panels ({', '.join(words.values())}),",
        ("severity", ACCURACY),
        {it: ", ".join(cells.labels[it]) for it in cells.variants},
        {words[name]: {it: curve_of(series) for it, series in rows.items()} for name, rows in cells.rows.items()},
        {words[name]: severities for name, severities in cells.severities.items()},
    )


def noise_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort: mean over severities of each noise family and of all together."""
    noisy = (cells.only(NOISES) for cells in corrupted(records))
    return [_noise_chart(cells) for cells in noisy if cells.rows]


def _noise_chart(cells: Corrupted) -> Chart:
    groups = {corruption_words(name): [name] for name in cells.rows}
    groups |= {f"all {len(groups)}": list(cells.rows)} if len(groups) > 1 else {}
    return dot_plot(
        cells.cohort.file_name("noises"),
        cells.cohort.titled("Noise families"),
        f"Mean accuracy over severities for {', '.join(groups)}.",
        ACCURACY,
        list(groups),
        {
            ", ".join(cells.labels[it]): [estimate(pool(cells.parts(it, names))) for names in groups.values()]
            for it in cells.variants
        },
    )


def lambda_charts(
    records: Sequence[Record],
    name: str = "lambda",
    title: str = "Accuracy over lambda",
    corruptions: Collection[str] = (),
    most: int | None = None,
) -> list[Chart]:
    """Returns one chart per cohort and run: accuracy over fixed lambdas, a line per severity (SDNet, Figure 2).

    A marker shows the best lambda of each severity. Corruptions with fewer than two lambdas are left out.

    Args:
        records: What was measured.
        name: Names of files begin with this.
        title: Titles begin with this.
        corruptions: Those that are shown; of none all.
        most: Most charts of a cohort; by default as many as fit in.
    """
    charts = []
    for cells in corrupted(records):
        runs: dict[str, dict[str, Curves]] = defaultdict(dict)
        for corruption, rows in cells.only(corruptions or cells.rows).rows.items():
            for run, curves in _lambda_curves(rows, cells.labels).items():
                runs[run][corruption_words(corruption)] = curves
        fit_in = most or max(1, MOST_PANELS // max(map(len, runs.values()), default=1))
        more = left_out(len(runs), fit_in, "runs")
        for run in sorted(runs)[:fit_in]:
            cohort = cells.cohort
            charts.append(lambda_chart(cohort.file_name(name, run), cohort.titled(f"{title}, {run}"), runs[run], more))
    return charts


def _lambda_curves(rows: Rows, labels: Labels) -> dict[str, Curves]:
    """Returns by run (in words) the accuracies over fixed lambdas, for each severity that has at least two of them."""
    found: dict[str, dict[int, dict[float, Record]]] = defaultdict(lambda: defaultdict(dict))
    for variant, measured in rows.items():
        if isinstance(variant.policy, FixedLambda) and isinstance(variant.policy.value, float):
            for severity, record in measured.items():
                found[labels[variant][0]][severity][variant.policy.value] = record
    curves = {
        run: {f"severity {severity}": curve_of(by[severity]) for severity in sorted(by) if len(by[severity]) > 1}
        for run, by in found.items()
    }
    return {run: of for run, of in curves.items() if of}


def lambda_chart(name: str, title: str, noises: Mapping[str, Curves], more: str = "") -> Chart:
    """Returns a chart of accuracies over lambda: a panel per noise, a line per level whose best lambda is marked.

    Args:
        name: As in `Chart`.
        title: As in `Chart`.
        noises: The lines by noise and level.
        more: Is added to the description.
    """
    lines = list(dict.fromkeys(label for curves in noises.values() for label in curves))
    panels = tuple(
        Panel(
            noise,
            "lambda",
            ACCURACY,
            tuple(percent_line(lines.index(label), curve, mark_best=True) for label, curve in curves.items()),
        )
        for noise, curves in noises.items()
    )
    described = f"Panels: {', '.join(noises)}; lines: {'; '.join(lines)}; a marker shows each line's best lambda.{more}"
    return Chart(name, title, described, panels, levelled_series(lines), same_heights=True)


def heat_maps(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort of at least two corruptions: a map per run and lambda policy, in percent.

    Each is accuracy by corruption and severity, in the same colours.
    """
    return [_maps(cells) for cells in corrupted(records) if len(cells.rows) > 1]


def _maps(cells: Corrupted) -> Chart:
    shown = cells.variants[:MOST_MAPS]
    described = f"Accuracy in percent. Panels: {'; '.join(', '.join(cells.labels[it]) for it in shown)}. "
    described += f"Rows: {', '.join(map(corruption_words, cells.rows))}. Empty: not measured."
    return Chart(
        name=cells.cohort.file_name("map"),
        title=cells.cohort.titled("Accuracy by corruption and severity"),
        description=described + left_out(len(cells.variants), MOST_MAPS, "rows"),
        panels=tuple(_map(cells, it) for it in shown),
    )


def _map(cells: Corrupted, variant: Variant) -> HeatMap:
    severities = sorted({severity for several in cells.severities.values() for severity in several})
    measured = (cells.series(variant, name) for name in cells.rows)
    values = tuple(
        tuple(100 * score(series[it]).rate if it in series else None for it in severities) for series in measured
    )
    rows, columns = tuple(map(corruption_words, cells.rows)), tuple(map(str, severities))
    return HeatMap("\n".join(cells.labels[variant]), "severity", rows, columns, values)
