"""Lambda fits: tables of the lines and of what they were fitted to, and charts of both."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from robustcsc.measurements.fits import LambdaFit, NoiseLevel
from robustcsc.measurements.statistics import Score
from robustcsc.presentation.chart import Chart, Line, Panel, numbered_series
from robustcsc.presentation.table import Cell, Column, Estimate, Table
from robustcsc.presentation.words import slug
from robustcsc.reports.cohorts.cells import estimate, percentages
from robustcsc.reports.cohorts.words import corruption_words
from robustcsc.reports.corruptions.charts import Curves, lambda_chart

_BEST_SHOWN = 3
"""How many of the lines compared per image the table of a fit names."""


def line_words(fit: LambdaFit) -> str:
    """Returns the line of a fit as one line of text."""
    line = fit.lines[fit.dataset_definition]
    if len({level.best_lam for level in fit.levels}) == 1:
        return f"{fit.noise}: lambda = {fit.levels[0].best_lam:g}, the best at every noise level"
    sign = "-" if line.slope < 0 else "+"
    return f"{fit.noise}: lambda = {line.intercept:.3g} {sign} {abs(line.slope):.3g} x residual (R2 {line.r2:.3f})"


def fit_tables(fits: Sequence[LambdaFit]) -> list[Table]:
    """Returns an overview of all lambda fits, then one table per fit with every noise level; empty without fits."""
    ordered = _ordered(fits)
    return [_overview(ordered), *map(_levels, ordered)] if ordered else []


def _overview(fits: Sequence[LambdaFit]) -> Table:
    definitions = list(dict.fromkeys(name for fit in fits for name in fit.lines))
    rows: list[dict[str, Cell]] = []
    for fit in fits:
        line = fit.lines.get(fit.dataset_definition)
        totals = sorted({level.total for level in fit.levels})
        rows.append(
            {
                "model": fit.model,
                "data set": fit.dataset,
                "noise": fit.noise,
                "training lambda": fit.lam0,
                "grid": f"{fit.grid[0]:g} to {fit.grid[-1]:g}, {len(fit.grid)} values",
                "noise levels": len(fit.levels),
                "residual used": fit.dataset_definition,
                "lambda(r)": f"{line.intercept:.4g} + {line.slope:.4g} r" if line else None,
                **{f"R2 {name}": fit.lines[name].r2 if name in fit.lines else None for name in definitions},
                "residual per image": fit.image_definition,
                "held-out n": totals[0] if len(totals) == 1 else ", ".join(map(str, totals)),
                "held-out images": _heldout_words(fit),
                "seed": fit.seed,
                "weights": fit.weights[:12],
                "fit": fit.digest,
            }
        )
    return Table(
        name="lambda-fits",
        title="Lambda fits: from the residual r of the CSC layers to the best lambda",
        columns=tuple(Column(name, digits=4 if name.startswith("R2") else None) for name in rows[0]),
        rows=tuple(tuple(row.values()) for row in rows),
        notes=("Fitted on held-out images of the training split, never on the test split.",),
    )


def _levels(fit: LambdaFit) -> Table:
    definitions = list(dict.fromkeys(name for level in fit.levels for name in level.residuals))
    rows = tuple(
        (
            corruption_words(level.noise),
            ", ".join(f"{name}={value:g}" for name, value in level.parameters.items()) or None,
            *(level.residuals.get(name) for name in definitions),
            level.best_lam,
            *(_accuracy(fit, level, lam) for lam in (level.best_lam, fit.lam0)),
            level.total,
        )
        for level in fit.levels
    )
    notes = [f"R2 of the line: {', '.join(f'{name} {line.r2:.4f}' for name, line in fit.lines.items())}."]
    notes.append(f"Held-out images: {_heldout_words(fit)}.")
    best = sorted(fit.image_candidates.items(), key=lambda candidate: -candidate[1])[:_BEST_SHOWN]
    if best:
        notes.append(
            f"Per image, of the {len(fit.image_candidates)} lines compared on held-out images the best is taken "
            "(residual/what the line was fitted to, accuracy in percent): "
            f"{', '.join(f'{name} {100 * accuracy:.2f}' for name, accuracy in best)}."
        )
    return Table(
        name=slug("lambda-fit", fit.model, fit.dataset, fit.noise, key=(fit.digest,)),
        title=f"Lambda fit: {fit.model}, {fit.dataset}, {fit.noise} (fit {fit.digest})",
        columns=(
            *(Column("noise"), Column("level")),
            *(Column(f"residual ({name})", significant=5) for name in definitions),
            Column("best lambda"),
            *percentages(("accuracy at best lambda", "accuracy at training lambda")),
            Column("held-out n"),
        ),
        rows=rows,
        notes=tuple(notes),
    )


def _accuracy(fit: LambdaFit, level: NoiseLevel, lam: float) -> Estimate | None:
    """Returns the accuracy at one lambda, ``None`` if the grid lacks it: the training lambda need not be in it."""
    found = _accuracies(fit, level).items()
    return next((it for value, it in found if math.isclose(value, lam, abs_tol=1e-9)), None)


def fit_curve_charts(fits: Sequence[LambdaFit]) -> list[Chart]:
    """Returns one chart per model and data set: held-out accuracy over the grid, a line per noise level.

    There is one panel per fit and noise; a pooled fit adds only noises that have no fit of their own.
    """
    charts = []
    for (model, weights, dataset), members in by_model(fits).items():
        noises: dict[str, Curves] = {}
        for fit in sorted(members, key=lambda fit: len({level.noise for level in fit.levels})):
            curves: dict[str, dict[str, Mapping[float, Estimate]]] = defaultdict(dict)
            for level in fit.levels:
                lines = curves[corruption_words(level.noise)]
                lines[f"level {len(lines) + 1}"] = _accuracies(fit, level)
            for noise, lines in curves.items():
                if noise not in noises:
                    noises[noise] = lines
                elif len(curves) == 1:
                    noises[f"{noise} (fit {fit.digest})"] = lines
        title = f"Held-out accuracy over lambda: {model} (weights {weights[:8]}), {dataset}"
        charts.append(lambda_chart(slug("fit-curves", model, dataset, key=(weights,)), title, noises))
    return charts


def residual_charts(fits: Sequence[LambdaFit]) -> list[Chart]:
    """Returns one chart per model and data set: best lambda over residual, line and R2 (SDNet, Figure 3).

    There is one panel per fit.
    """
    charts = []
    for (model, weights, dataset), members in by_model(fits).items():
        noises = list(dict.fromkeys(level.noise for fit in members for level in fit.levels))
        said = "; ".join(f"{fit.noise}: R2 {fit.lines[fit.dataset_definition].r2:.4f}" for fit in members)
        charts.append(
            Chart(
                name=slug("residuals", model, dataset, key=(weights,)),
                title=f"Best lambda over residual: {model} (weights {weights[:8]}), {dataset}",
                description=f"{said}. Held-out images: {', '.join(sorted(set(map(_heldout_words, members))))}.",
                panels=tuple(residual_panel(fit, noises) for fit in members),
                series=numbered_series(map(corruption_words, noises), joined=False),
            )
        )
    return charts


def residual_panel(fit: LambdaFit, noises: Sequence[str], title: str = "") -> Panel:
    """Returns best lambda over residual, a series per noise, and the line; its R2 is the title unless one is given."""
    definition = fit.dataset_definition
    line = fit.lines[definition]
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for level in fit.levels:
        if definition in level.residuals:
            points[level.noise].append((level.residuals[definition], level.best_lam))
    lines = [
        Line(at, tuple(residual for residual, _ in found), tuple(lam for _, lam in found))
        for at, noise in enumerate(noises)
        if (found := points[noise])
    ]
    residuals = [residual for found in points.values() for residual, _ in found]
    ends = (min(residuals), max(residuals)) if residuals else ()
    lines.append(Line(None, ends, tuple(line.intercept + line.slope * end for end in ends)))
    return Panel(title or f"{fit.noise}, R² = {line.r2:.3f}", f"residual ({definition})", "best lambda", tuple(lines))


def by_model(fits: Sequence[LambdaFit]) -> dict[tuple[str, str, str], list[LambdaFit]]:
    """Returns the fits that have a line, by model, weights and data set."""
    groups: dict[tuple[str, str, str], list[LambdaFit]] = defaultdict(list)
    for fit in _ordered(fits):
        if fit.levels and fit.dataset_definition in fit.lines:
            groups[(fit.model, fit.weights, fit.dataset)].append(fit)
    return groups


def _accuracies(fit: LambdaFit, level: NoiseLevel) -> dict[float, Estimate]:
    """Returns the accuracies at each lambda of the grid."""
    scores = (estimate(Score(correct, level.total)) for correct in level.correct)
    return {lam: found for lam, found in zip(fit.grid, scores, strict=True) if found is not None}


def _ordered(fits: Sequence[LambdaFit]) -> list[LambdaFit]:
    """Returns the fits in the order of tables and charts, each once."""
    unique = {fit.digest: fit for fit in sorted(fits, key=lambda fit: fit.created)}
    return sorted(unique.values(), key=lambda fit: (fit.model, fit.weights, fit.dataset, fit.noise, fit.digest))


def _heldout_words(fit: LambdaFit) -> str:
    """Says whether the model was trained on the images its lambda was fitted on."""
    return "trained on them too" if fit.trained_on_heldout else "never trained on"
