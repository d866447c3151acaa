"""The tables and figures of papers, filled with what was measured: SDNet 2 and 3, DeTraMe-Net 2 to 4 are drawn.

Figures are meant to be drawn narrow, for a column of a paper, whose caption has the title.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import cycle
from statistics import fmean, stdev

from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Clean, RandomNoise, Universal
from robustcsc.measurements.records import Metric, Record
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.chart import MARKERS, MOST_LINES, Chart, Line, Marker, Panel, Series
from robustcsc.presentation.colours import COLOURS
from robustcsc.presentation.table import Table
from robustcsc.presentation.words import slug
from robustcsc.reports.cohorts.cohorts import Setting
from robustcsc.reports.cohorts.words import NOISES, corruption_rank, corruption_words, norm_words
from robustcsc.reports.comparisons.groups import Group, groups_of
from robustcsc.reports.corruptions.charts import ACCURACY, lambda_charts
from robustcsc.reports.papers import detrame, res_msd_csc, sdnet, tddl
from robustcsc.reports.papers.names import Paper
from robustcsc.reports.papers.quantities import PLAIN
from robustcsc.reports.papers.template import lay
from robustcsc.reports.summary.lambda_fits import by_model, residual_panel

MOST_RUNS = 4
"""Runs that have a chart of their own."""

_Points = dict[float, Sequence[float]]
"""Percent by what the horizontal axis shows, one number for each training seed."""

_Panels = dict[str, dict[str, _Points]]
"""Points by panel and line."""


def paper_tables(paper: Paper, records: Sequence[Record], trainings: Iterable[Training] = ()) -> list[Table]:
    """Returns all tables of a paper with what was measured, beside the figures printed there.

    Trainings, as far as they are known, tell sizes, times and seeds of the measured models.
    """
    if paper == "detrame":
        made = (record.measurement.perturbation for record in records)
        tables = detrame.tables(it.threat for it in made if isinstance(it, Universal))
    else:
        tables = {"sdnet": sdnet.TABLES, "res-msd-csc": res_msd_csc.TABLES, "tddl": tddl.TABLES}[paper]
    groups = groups_of(records, trainings)
    return [lay(table, groups) for table in tables]


def paper_charts(
    paper: Paper, records: Sequence[Record], fits: Sequence[LambdaFit], trainings: Sequence[Training] = ()
) -> list[Chart]:
    """Returns the figures of a paper that records, fits and trainings allow; none of Res-CSC, MSD-CSC and TDDL-CNN."""
    if paper == "sdnet":
        second = lambda_charts(records, "paper-sdnet-figure-2", "SDNet, figure 2", NOISES, MOST_RUNS)
        return [*second, *_lambda_over_residual(fits)]
    if paper == "detrame":
        groups = groups_of(records, trainings)
        return [*_accuracy_over_parameters(groups), *_fooling_over_size(groups)]
    return []


def _lambda_over_residual(fits: Sequence[LambdaFit]) -> list[Chart]:
    """SDNet, figure 3: best lambda over the residual as red crosses, the fitted line in black, a panel per noise."""
    alone = by_model([fit for fit in fits if len({level.noise for level in fit.levels}) == 1])
    charts = []
    for (model, weights, dataset), members in list(alone.items())[:MOST_RUNS]:
        members.sort(key=lambda fit: corruption_rank(fit.levels[0].noise))
        panels = tuple(residual_panel(it, [noise := it.levels[0].noise], corruption_words(noise)) for it in members)
        name = slug("paper-sdnet-figure-3", model, dataset, key=(weights,))
        title = f"SDNet, figure 3: {model} (weights {weights[:8]}), {dataset}"
        described = f"Panels: {', '.join(fit.noise for fit in members)}."
        charts.append(Chart(name, title, described, panels, (Series("", "#c00000", "x", ""),)))
    return charts


def _accuracy_over_parameters(groups: Sequence[Group]) -> list[Chart]:
    """DeTraMe-Net, figure 2: a panel per data set, a line per family, the DeTraMe form of it solid."""
    panels = _panels(groups, Metric.ACCURACY, _family, _parameters)
    if max((sum(map(len, panel.values())) for panel in panels.values()), default=0) < 2:
        return []
    lines = sorted({line for panel in panels.values() for line in panel})
    bases = list(dict.fromkeys(map(_original, lines)))
    series = [
        _series(line, COLOURS[bases.index(_original(line)) % len(COLOURS)], MARKERS[line != _original(line)])
        for line in lines
    ]
    described = f"Accuracy over the number of parameters; lines: {'; '.join(lines)}; bands: standard deviation."
    return [_chart(2, "accuracy over parameters", described, panels, series, ("parameters (millions)", ACCURACY))]


def _fooling_over_size(groups: Sequence[Group]) -> list[Chart]:
    """DeTraMe-Net, figures 3 and 4: fooling rate over the magnitude of universal perturbations, and of random noise."""
    charts = []
    for number, axis, size in ((3, "xi", _xi), (4, "rho", _rho)):
        panels = _panels(groups, Metric.FOOLING, partial(_called, groups), size)
        lines = sorted({line for panel in panels.values() for line in panel})[:MOST_LINES]
        kept = {name: {line: panel[line] for line in lines if line in panel} for name, panel in panels.items()}
        if any(len(points) > 1 for panel in kept.values() for points in panel.values()):
            series = [_series(*style) for style in zip(lines, cycle(COLOURS), cycle(MARKERS), strict=False)]
            described = f"Fooling rate over {axis}; lines: {'; '.join(lines)}; bands: standard deviation over seeds."
            axes = (axis, "fooling rate (%)")
            charts.append(_chart(number, f"fooling rate over {axis}", described, kept, series, axes))
    return charts


def _parameters(group: Group, made: Setting) -> float | None:
    return group.about.parameters / 1e6 if group.about and made == Clean() else None


def _xi(_: Group, made: Setting) -> float | None:
    return made.threat.epsilon if isinstance(made, Universal) else None


def _rho(_: Group, made: Setting) -> float | None:
    return made.rho if isinstance(made, RandomNoise) else None


def _family(group: Group) -> str:
    return (group.model.partition("-")[0] if group.model.startswith("wide") else group.model).rstrip("0123456789")


def _original(line: str) -> str:
    """Returns the name of the original of a DeTraMe-Net, and any other name as it is."""
    return line.removeprefix("detrame-")


def _series(label: str, colour: str, marker: Marker) -> Series:
    return Series(label, colour, marker, "dash" if label == _original(label) else "solid")  # as the paper


def _called(groups: Sequence[Group], group: Group) -> str:
    """Returns the name of a model, numbered where there are several ways of training it."""
    alike = [it for it in groups if it.model == group.model]
    return group.model if len(alike) == 1 else f"{group.model} ({alike.index(group) + 1})"


def _panels(
    groups: Iterable[Group],
    metric: Metric,
    line: Callable[[Group], str],
    place: Callable[[Group, Setting], float | None],
) -> _Panels:
    """Returns what models gave as they were trained; panels are data sets (and norms).

    `line` names the line of a model; `place` says where a point lies horizontally, ``None`` for what has no point.
    """
    panels: _Panels = defaultdict(lambda: defaultdict(dict))
    for group in groups:
        found: dict[tuple[str, float], list[float]] = defaultdict(list)
        for seed in group.seeds:
            for (cohort, made, policy), several in seed.items():
                at = place(group, made)
                if at is not None and cohort.metric is metric and policy in PLAIN:
                    norm = (norm_words(made.threat.norm),) if isinstance(made, Universal) else ()
                    shares = [100 * series[0].met / series[0].total for series in several]
                    found[", ".join((cohort.dataset, *norm)), at].append(fmean(shares))
        for (panel, at), percent in found.items():
            panels[panel][line(group)][at] = percent
    return panels


def _chart(
    number: int, words: str, described: str, panels: _Panels, series: Sequence[Series], axes: tuple[str, str]
) -> Chart:
    """Returns a chart of means over seeds, with bands of a standard deviation."""
    at = {it.label: place for place, it in enumerate(series)}
    drawn = tuple(
        Panel(name, *axes, tuple(_mean_line(at[label], points) for label, points in panel.items()))
        for name, panel in panels.items()
    )
    title = f"DeTraMe-Net, figure {number}: {words}"
    return Chart(f"paper-detrame-figure-{number}", title, described, drawn, tuple(series))


def _mean_line(series: int, points: _Points) -> Line:
    places = sorted(points)
    means = [fmean(points[x]) for x in places]
    spread = [stdev(points[x]) if len(points[x]) > 1 else 0.0 for x in places]
    ends = (
        [tuple(y + sign * std for y, std in zip(means, spread, strict=True)) for sign in (-1, 1)] if any(spread) else ()
    )
    return Line(series, tuple(places), tuple(means), *ends)
