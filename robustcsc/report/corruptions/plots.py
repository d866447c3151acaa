"""Figures of a report: accuracy by severity, noise families, lambda curves, residual fits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from robustcsc.measurements.statistics import Score
from robustcsc.records import Record
from robustcsc.report.cohorts import (
    Cohort,
    Series,
    Setting,
    Subject,
    by_cohort,
    pool,
    severities_of,
    without_fixed,
)
from robustcsc.report.figures import (
    COLOURS,
    DASHES,
    MARKERS,
    MOST_LINES,
    MOST_PANELS,
    Curve,
    Plot,
    draw_line,
    grouped_points,
    left_out,
    legend_below,
    legend_rows,
    panels,
    shades,
    share_heights,
    title_panel,
)
from robustcsc.report.provenance import heldout_words, ordered_fits
from robustcsc.report.tables import Labels, labels_of, ranked
from robustcsc.report.words import NOISE_FAMILIES, corruption_rank, corruption_words, fixed_lambda, slug

if TYPE_CHECKING:  # reports need no torch
    from robustcsc.measurements.fits import LambdaFit

_ACCURACY = "accuracy (%)"


def all_plots(records: Sequence[Record], fits: Sequence[LambdaFit]) -> list[Plot]:
    """Returns every figure the records and fits allow, in the order of a report."""
    return [
        *severity_plots(records),
        *noise_plots(records),
        *lambda_plots(records),
        *residual_plots(fits),
        *fit_curve_plots(fits),
    ]


def severity_plots(records: Sequence[Record]) -> list[Plot]:
    """Returns one figure per cohort: accuracy by severity, a panel per corruption, bands = 95 % intervals."""
    labels = labels_of(records)
    plots = []
    for cohort, settings in by_cohort(records).items():
        noisy = _corruptions(settings)
        everyone = _lines(subject for rows in noisy.values() for subject in rows)
        subjects = everyone[:MOST_LINES]
        if not subjects:
            continue
        names = [", ".join(labels[subject]) for subject in subjects]
        figure, axes = panels(len(noisy), legend_rows(names))
        handles: dict[Subject, Artist] = {}
        for ax, (name, rows) in zip(axes, noisy.items(), strict=True):
            for at, subject in enumerate(subjects):
                curve = {float(severity): _score(it) for severity, it in rows.get(subject, {}).items()}
                if curve:
                    handles.setdefault(subject, draw_line(ax, curve, at))
            title_panel(ax, corruption_words(name), "severity", _ACCURACY)
            ax.set_xticks(severities_of(rows.values()))
        share_heights(axes)
        legend_below(figure, [handles[subject] for subject in subjects], names)
        title = f"Accuracy by severity: {cohort.title}"
        described = f"{len(noisy)} panels ({', '.join(map(corruption_words, noisy))}), lines: {'; '.join(names)}."
        described += left_out(len(everyone), MOST_LINES, "lines")
        plots.append(Plot(cohort.file_name("severity"), title, described, figure))
    return plots


def noise_plots(records: Sequence[Record]) -> list[Plot]:
    """Returns one figure per cohort: mean over severities of each noise family and of all together."""
    labels = labels_of(records)
    plots = []
    for cohort, settings in by_cohort(records).items():
        noisy = {name: rows for name, rows in _corruptions(settings).items() if name in NOISE_FAMILIES}
        subjects = _lines(subject for rows in noisy.values() for subject in rows)
        if subjects:
            plots.append(_noise_plot(cohort, noisy, subjects, labels))
    return plots


def _noise_plot(
    cohort: Cohort, noisy: Mapping[str, Mapping[Subject, Series]], subjects: Sequence[Subject], labels: Labels
) -> Plot:
    columns = [(corruption_words(name), [name]) for name in noisy]
    columns += [(f"all {len(noisy)}", list(noisy))] if len(noisy) > 1 else []
    wanted = {name: severities_of(rows.values()) for name, rows in noisy.items()}
    rows = {
        ", ".join(labels[subject]): [
            pool([(noisy[name].get(subject, {}), wanted[name]) for name in members]) for _, members in columns
        ]
        for subject in subjects
    }
    headings = [heading for heading, _ in columns]
    described = f"Mean accuracy over severities for {', '.join(headings)}."
    return grouped_points(cohort.file_name("noises"), f"Noise families: {cohort.title}", described, headings, rows)


def lambda_plots(records: Sequence[Record]) -> list[Plot]:
    """Returns one figure per cohort and run: accuracy over fixed lambdas, a line per severity (SDNet, Figure 2).

    A filled marker shows the best lambda of each severity. Corruptions with fewer than two lambdas are left out.
    """
    labels = labels_of(records)
    plots = []
    for cohort, settings in by_cohort(records).items():
        runs: dict[str, dict[str, dict[float, Series]]] = defaultdict(dict)
        for name, rows in _corruptions(settings).items():
            for run, by_lambda in lambda_series(rows, labels).items():
                runs[run][name] = by_lambda
        fit_in = max(1, MOST_PANELS // max(map(len, runs.values()), default=1))
        more = left_out(len(runs), fit_in, "runs")
        for run in sorted(runs)[:fit_in]:
            title = f"Accuracy over lambda: {run}, {cohort.title}"
            drawn = {corruption_words(name): lambda_curves(by_lambda) for name, by_lambda in runs[run].items()}
            plots.append(_curve_plot(cohort.file_name("lambda", run), title, drawn, more))
    return plots


def lambda_series(rows: Mapping[Subject, Series], labels: Labels) -> dict[str, dict[float, Series]]:
    """Returns by run (in words) what was measured at each fixed lambda, where a severity has two of them."""
    found: dict[str, dict[float, Series]] = defaultdict(dict)
    for subject, series in rows.items():
        lam = fixed_lambda(subject.policy)
        if lam is not None:
            found[labels[subject][0]][lam] = series
    counts = {run: Counter(severity for series in of.values() for severity in series) for run, of in found.items()}
    return {run: of for run, of in found.items() if max(counts[run].values()) > 1}


def lambda_curves(by_lambda: Mapping[float, Series]) -> dict[str, Curve]:
    """Returns the scores over lambda by severity."""
    curves = {
        f"severity {severity}": {
            lam: _score(series[severity]) for lam, series in by_lambda.items() if severity in series
        }
        for severity in severities_of(by_lambda.values())
    }
    return {name: curve for name, curve in curves.items() if len(curve) > 1}


def fit_curve_plots(fits: Sequence[LambdaFit]) -> list[Plot]:
    """Returns one figure per model and data set: held-out accuracy over the grid, a line per noise level.

    There is one panel per fit and noise; a pooled fit adds only noises that have no fit of their own.
    """
    plots = []
    for (model, weights, dataset), members in _by_model(fits).items():
        noises: dict[str, dict[str, Curve]] = {}
        for fit in sorted(members, key=lambda fit: len({level.noise for level in fit.levels})):
            curves = _level_curves(fit)
            for noise, lines in curves.items():
                if noise not in noises:
                    noises[noise] = lines
                elif len(curves) == 1:
                    noises[f"{noise} (fit {fit.digest})"] = lines
        title = f"Held-out accuracy over lambda: {model} (weights {weights[:8]}), {dataset}"
        plots.append(_curve_plot(slug("fit-curves", model, dataset, key=(weights,)), title, noises))
    return plots


def _level_curves(fit: LambdaFit) -> dict[str, dict[str, Curve]]:
    """Returns by noise and level the scores at each lambda of the grid."""
    curves: dict[str, dict[str, Curve]] = {}
    for level in fit.levels:
        lines = curves.setdefault(corruption_words(level.noise), {})
        scores = {lam: Score(n, level.total) for lam, n in zip(fit.grid, level.correct, strict=True)}
        lines[f"level {len(lines) + 1}"] = scores
    return curves


def _by_model(fits: Sequence[LambdaFit]) -> dict[tuple[str, str, str], list[LambdaFit]]:
    groups: dict[tuple[str, str, str], list[LambdaFit]] = defaultdict(list)
    for fit in ordered_fits(fits):
        if fit.levels and fit.dataset_definition in fit.lines:
            groups[(fit.model, fit.weights, fit.dataset)].append(fit)
    return groups


def _curve_plot(name: str, title: str, noises: Mapping[str, Mapping[str, Curve]], more: str = "") -> Plot:
    lines = list(dict.fromkeys(label for curves in noises.values() for label in curves))
    figure, axes = panels(len(noises), legend_rows(lines))
    tints = shades(len(lines))
    handles: dict[str, Artist] = {}
    for ax, (noise, curves) in zip(axes, noises.items(), strict=True):
        for label, curve in curves.items():
            at = lines.index(label)
            ordered = sorted(curve)
            heights = [100 * curve[lam].accuracy for lam in ordered]
            dashes = DASHES[at % len(DASHES)]
            (line,) = ax.plot(ordered, heights, linewidth=1.5, color=tints[at], linestyle=dashes)
            handles.setdefault(label, line)
            best = max(ordered, key=lambda lam, curve=curve: (curve[lam].accuracy, -lam))  # type: ignore[misc]
            ax.plot([best], [100 * curve[best].accuracy], marker=MARKERS[at % len(MARKERS)], color=tints[at])
        title_panel(ax, noise, "lambda", _ACCURACY)
    share_heights(axes)
    legend_below(figure, [handles[label] for label in lines], lines)
    described = f"Panels: {', '.join(noises)}; lines: {'; '.join(lines)}; a marker shows each line's best lambda.{more}"
    return Plot(name, title, described, figure)


def residual_plots(fits: Sequence[LambdaFit]) -> list[Plot]:
    """Returns one figure per model and data set: best lambda over residual, line and R2 (SDNet, Figure 3).

    There is one panel per fit.
    """
    plots = []
    for (model, weights, dataset), members in _by_model(fits).items():
        noises = list(dict.fromkeys(level.noise for fit in members for level in fit.levels))
        figure, axes = panels(len(members), legend_rows(noises))
        handles: dict[str, Artist] = {}
        for ax, fit in zip(axes, members, strict=True):
            _draw_fit(ax, fit, noises, handles)
        legend_below(figure, [handles[noise] for noise in noises], [corruption_words(noise) for noise in noises])
        title = f"Best lambda over residual: {model} (weights {weights[:8]}), {dataset}"
        said = "; ".join(f"{fit.noise}: R2 {fit.lines[fit.dataset_definition].r2:.4f}" for fit in members)
        described = f"{said}. Held-out images: {', '.join(sorted(set(map(heldout_words, members))))}."
        plots.append(Plot(slug("residuals", model, dataset, key=(weights,)), title, described, figure))
    return plots


def _draw_fit(ax: Axes, fit: LambdaFit, noises: Sequence[str], handles: dict[str, Artist]) -> None:
    definition = fit.dataset_definition
    line = fit.lines[definition]
    for noise in noises:
        levels = [level for level in fit.levels if level.noise == noise and definition in level.residuals]
        if levels:
            at = noises.index(noise)
            (points,) = ax.plot(
                [level.residuals[definition] for level in levels],
                [level.best_lam for level in levels],
                color=COLOURS[at % len(COLOURS)],
                marker=MARKERS[at % len(MARKERS)],
                linestyle="none",
            )
            handles.setdefault(noise, points)
    residuals = [level.residuals[definition] for level in fit.levels if definition in level.residuals]
    ends = [min(residuals), max(residuals)] if residuals else []
    ax.plot(ends, [line.intercept + line.slope * r for r in ends], color="black", linewidth=1.2, zorder=1)
    title_panel(ax, f"{fit.noise}, R² = {line.r2:.3f}", f"residual ({definition})", "best lambda")


def _corruptions(settings: Mapping[Setting, Mapping[Subject, Series]]) -> dict[str, Mapping[Subject, Series]]:
    noisy = {setting.name: rows for setting, rows in settings.items() if setting.kind == "corruption"}
    return {name: noisy[name] for name in sorted(noisy, key=corruption_rank)}


def _lines(subjects: Iterable[Subject]) -> list[Subject]:
    return without_fixed(ranked(subjects))


def _score(record: Record) -> Score:
    return Score(record.correct, record.total)
