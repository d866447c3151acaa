"""The papers' figures from what was measured, sized for a column of a paper: SDNet 2 and 3, DeTraMe-Net 2 to 4.

Labels stand in the figures, titles do not: those belong into a caption.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustcsc.measurements.trainings import Training
from robustcsc.records import FOOLING, Record
from robustcsc.report.cohorts import by_cohort
from robustcsc.report.figures import COLOURS, DASHES, MARKERS, MOST_LINES, Plot, legend_rows, shades, verbatim
from robustcsc.report.measured import PLAIN, Group, groups_of
from robustcsc.report.papers import Paper
from robustcsc.report.plots import lambda_curves, lambda_series
from robustcsc.report.provenance import ordered_fits
from robustcsc.report.tables import labels_of
from robustcsc.report.words import NOISE_FAMILIES, corruption_rank, corruption_words, norm_words, slug

if TYPE_CHECKING:  # reports need no torch
    from robustcsc.measurements.fits import LambdaFit

COLUMN, HEIGHT = 3.25, 1.55
"""Inches: the width of one of two columns, and the height of a row of panels."""
MOST_RUNS = 4
"""Runs that have a figure of their own."""

_DPI = 150
_LETTERS, _SMALL = 8, 7  # points
_LEGEND_ROW = 0.16  # inches

Line = Mapping[float, Sequence[float]]
"""Percent by what the horizontal axis shows, one number for each seed."""


def paper_plots(
    paper: Paper, records: Sequence[Record], fits: Sequence[LambdaFit], trainings: Sequence[Training] = ()
) -> list[Plot]:
    """Returns the figures of a paper that the records and fits allow; the other papers' figures are not drawn.

    Args:
        paper: Whose figures.
        records: What was measured, of any number of runs.
        fits: Lambda fits.
        trainings: How the measured models were trained, as far as that is known.
    """
    if paper == "sdnet":
        return [*_accuracy_over_lambda(records), *_lambda_over_residual(fits)]
    if paper == "detrame":
        groups = groups_of(records, trainings)
        return [*_accuracy_over_parameters(groups), *_fooling_over_size(groups)]
    return []


def _accuracy_over_lambda(records: Sequence[Record]) -> list[Plot]:
    """SDNet, figure 2: a panel per noise, a line per severity, a marker at the best lambda."""
    labels = labels_of(records)
    plots = []
    for cohort, settings in by_cohort(records).items():
        runs: dict[str, dict[str, Mapping[str, Line]]] = defaultdict(dict)
        noises = {it.name: rows for it, rows in settings.items() if it.kind == "corruption"}
        for noise in (it for it in NOISE_FAMILIES if it in noises):
            for run, series in lambda_series(noises[noise], labels).items():
                runs[run][corruption_words(noise)] = {
                    severity: {lam: [100 * score.accuracy] for lam, score in curve.items()}
                    for severity, curve in lambda_curves(series).items()
                }
        for run in sorted(runs)[:MOST_RUNS]:
            lines = list(dict.fromkeys(line for panel in runs[run].values() for line in panel))
            styles = {line: (tint, "") for line, tint in zip(lines, shades(len(lines)), strict=True)}
            figure = _draw(runs[run], styles, "lambda", "accuracy (%)", best=True)
            title = f"SDNet, figure 2: {run}, {cohort.title}"
            described = f"Accuracy over lambda. Panels: {', '.join(runs[run])}; a marker shows each line's best lambda."
            plots.append(Plot(cohort.file_name("paper-sdnet-figure-2", run), title, described, figure))
    return plots


def _lambda_over_residual(fits: Sequence[LambdaFit]) -> list[Plot]:
    """SDNet, figure 3: best lambda over the residual as red crosses, the fitted line in black, a panel per noise."""
    by_model: dict[tuple[str, str, str], list[LambdaFit]] = defaultdict(list)
    for fit in ordered_fits(fits):
        alone = len({level.noise for level in fit.levels}) == 1
        if alone and fit.dataset_definition in fit.lines:
            by_model[fit.model, fit.weights, fit.dataset].append(fit)
    plots = []
    for (model, weights, dataset), members in list(by_model.items())[:MOST_RUNS]:
        members.sort(key=lambda fit: corruption_rank(fit.levels[0].noise))
        figure, axes = _panels(len(members), 0)
        for ax, fit in zip(axes, members, strict=True):
            definition = fit.dataset_definition
            line = fit.lines[definition]
            residuals = [level.residuals[definition] for level in fit.levels]
            ax.plot(residuals, [level.best_lam for level in fit.levels], "x", color="#c00000", markersize=4)
            ends = [min(residuals), max(residuals)]
            ax.plot(ends, [line.intercept + line.slope * end for end in ends], color="black", linewidth=0.9)
            _name(ax, corruption_words(fit.levels[0].noise), f"residual ({definition})", "best lambda")
        described = f"Panels: {', '.join(fit.noise for fit in members)}."
        title = f"SDNet, figure 3: {model} (weights {weights[:8]}), {dataset}"
        plots.append(Plot(slug("paper-sdnet-figure-3", model, dataset, key=(weights,)), title, described, figure))
    return plots


def _accuracy_over_parameters(groups: Sequence[Group]) -> list[Plot]:
    """DeTraMe-Net, figure 2: a panel per data set, a line per family, the DeTraMe form of it solid."""
    panels: dict[str, dict[str, dict[float, list[float]]]] = defaultdict(lambda: defaultdict(dict))
    for group in groups:
        if group.about is not None:
            for data, shares in _shares(group, "clean", "accuracy").items():
                family = group.model.partition("-")[0] if group.model.startswith("wide") else group.model
                panels[data][family.rstrip("0123456789")][group.about.parameters / 1e6] = shares[0.0]
    lines = sorted({line for panel in panels.values() for line in panel})
    if max((sum(map(len, panel.values())) for panel in panels.values()), default=0) < 2:
        return []
    bases = list(dict.fromkeys(line.removeprefix("detrame-") for line in lines))
    styles = {
        line: (
            COLOURS[bases.index(line.removeprefix("detrame-")) % len(COLOURS)],
            MARKERS[line.startswith("detrame-")],
        )
        for line in lines
    }
    figure = _draw(panels, styles, "parameters (millions)", "accuracy (%)", dashed=_original(lines))
    described = f"Accuracy over the number of parameters; lines: {'; '.join(lines)}; bands: standard deviation."
    return [Plot("paper-detrame-figure-2", "DeTraMe-Net, figure 2: accuracy over parameters", described, figure)]


def _original(lines: Sequence[str]) -> frozenset[str]:
    """Returns the lines of the original networks, which the paper dashes."""
    return frozenset(line for line in lines if not line.startswith("detrame-"))


def _fooling_over_size(groups: Sequence[Group]) -> list[Plot]:
    """DeTraMe-Net, figures 3 and 4: fooling rate over the magnitude of universal perturbations, and of random noise."""
    plots = []
    for number, kind, axis in ((3, "uap", "xi"), (4, "random-noise", "rho")):
        panels: dict[str, dict[str, Line]] = defaultdict(dict)
        for group in groups:
            for panel, shares in _shares(group, kind, FOOLING).items():
                panels[panel][_called(group, groups)] = shares
        lines = sorted({line for panel in panels.values() for line in panel})[:MOST_LINES]
        kept = {name: {line: panel[line] for line in lines if line in panel} for name, panel in panels.items()}
        if not any(len(line) > 1 for panel in kept.values() for line in panel.values()):
            continue
        styles = {line: (COLOURS[at % len(COLOURS)], MARKERS[at % len(MARKERS)]) for at, line in enumerate(lines)}
        figure = _draw(kept, styles, axis, "fooling rate (%)", dashed=_original(lines))
        described = f"Fooling rate over {axis}; lines: {'; '.join(lines)}; bands: standard deviation over seeds."
        title = f"DeTraMe-Net, figure {number}: fooling rate over {axis}"
        plots.append(Plot(f"paper-detrame-figure-{number}", title, described, figure))
    return plots


def _called(group: Group, groups: Sequence[Group]) -> str:
    """Returns the name of a model, numbered where there are several ways of training it."""
    alike = [it for it in groups if it.model == group.model]
    return group.model if len(alike) == 1 else f"{group.model} ({alike.index(group) + 1})"


def _shares(group: Group, kind: str, metric: str) -> dict[str, dict[float, list[float]]]:
    """Returns by data set (and norm) and size what the seeds of a group gave, in percent."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in group.seeds:
        for place, several in seed.items():
            it, cohort = place.setting, place.cohort
            if it.kind == kind and cohort.metric == metric and place.policy in PLAIN:
                panel = ", ".join(filter(None, (cohort.dataset, norm_words(it.norm) if it.norm else "")))
                shares = [100 * series[0].correct / series[0].total for series in several]
                found[panel][it.epsilon or 0.0].append(fmean(shares))
    return found


def _panels(count: int, rows: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, 2)
    height = (-(-count // columns) * HEIGHT if count > 1 else 1.3 * HEIGHT) + rows * _LEGEND_ROW + 0.1
    figure = Figure(figsize=(COLUMN, height), dpi=_DPI, layout="constrained", facecolor="white")
    axes = [figure.add_subplot(-(-count // columns), columns, at + 1) for at in range(count)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=_SMALL, width=0.6, length=2.5)
    return figure, axes


def _name(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_title(verbatim(title), fontsize=_LETTERS)
    ax.set_xlabel(x, fontsize=_LETTERS)
    if ax.get_subplotspec() is None or ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        ax.set_ylabel(y, fontsize=_LETTERS)


def _draw(
    drawn: Mapping[str, Mapping[str, Line]],
    styles: Mapping[str, tuple[object, str]],
    x: str,
    y: str,
    *,
    best: bool = False,
    dashed: frozenset[str] = frozenset(),
) -> Figure:
    """Draws lines with bands of a standard deviation, a panel per entry, and one legend below."""
    rows = legend_rows(list(styles))
    figure, axes = _panels(len(drawn), rows)
    handles: dict[str, Artist] = {}
    for ax, (title, lines) in zip(axes, drawn.items(), strict=True):
        for name, line in lines.items():
            colour, marker = styles[name]
            xs = sorted(line)
            heights = [fmean(line[at]) for at in xs]
            dashes = DASHES[name in dashed]
            (handle,) = ax.plot(xs, heights, color=colour, marker=marker, linestyle=dashes, linewidth=0.9, markersize=3)
            handles.setdefault(name, handle)
            spread = [stdev(line[at]) if len(line[at]) > 1 else 0.0 for at in xs]
            if any(spread):
                low, high = ([h + sign * s for h, s in zip(heights, spread, strict=True)] for sign in (-1, 1))
                ax.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
            if best:
                at = max(range(len(xs)), key=heights.__getitem__)
                ax.plot([xs[at]], [heights[at]], marker="o", color=colour, markersize=3)
        _name(ax, title, x, y)
    names = list(handles)
    figure.legend(
        [handles[name] for name in names],
        [verbatim(name) for name in names],
        loc="outside lower center",
        ncols=3 if max(map(len, names)) < 16 else 2,
        fontsize=_SMALL,
        frameon=False,
        handlelength=1.6,
        columnspacing=1.0,
    )
    return figure
