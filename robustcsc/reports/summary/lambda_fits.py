"""Lambda fits: tables of the lines and of what they were fitted to, and charts of both."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.facts import to_json
from robustcsc.measurements.fits import Definition, LambdaFit, NoiseLevel
from robustcsc.measurements.perturbations import Pixels
from robustcsc.measurements.statistics import Score
from robustcsc.presentation.chart import Chart, Line, Panel, numbered_series
from robustcsc.presentation.table import Column, Estimate, Table
from robustcsc.presentation.words import MISSING, slug
from robustcsc.reports.cohorts.cells import estimate
from robustcsc.reports.cohorts.words import corruption_rank, corruption_words, precision_words, stored_words
from robustcsc.reports.corruptions.charts import Curves, lambda_chart
from robustcsc.reports.summary.blind_fits import blind_tables

_FAMILIES = {kernel: family for family, kernel in NOISE_KERNELS.items()}
_RESIDUALS: Mapping[Definition, str] = {
    "squared": "||x - A z||^2",
    "norm": "||x - A z||",
    "relative": "||x - A z||^2 / ||x||^2",
}


def fit_tables(fits: Sequence[LambdaFit]) -> list[Table]:
    """Returns two tables for fits that were made alike: their lines, and the best lambda at each noise level.

    Fits with a lambda per layer have a third one, of the best lambdas of the layers. For each blind fit a table says
    what it does to images without noise.

    Alike are fits to the same model, images, pixels, grid and precision. A noise level that several of them were fitted
    to stands once.
    """
    alike: dict[tuple[str, ...], list[LambdaFit]] = defaultdict(list)
    for fit in _ordered(fits):
        images = (fit.heldout, str(fit.trained_on_heldout), *map(str, _totals([fit])), str(fit.seed))
        computed = (*precision_words(fit.precision), *([] if fit.pixels is Pixels.FLOAT else [fit.pixels.value]))
        computed += (f"{len(fit.layer_lines)} layers",) if fit.layer_lines else ()
        alike[fit.weights, *images, str(fit.lam0), str(fit.grid), fit.dataset_definition, *computed].append(fit)
    tables = []
    for key, members in alike.items():
        tables += [_lines(members, key), _levels(members, key)]
        tables += [_layers(members, key)] if members[0].layer_lines else []
    return [*tables, *blind_tables(_ordered(fits))]


def _lines(fits: Sequence[LambdaFit], key: tuple[str, ...]) -> Table:
    made = fits[0]
    definitions = list(dict.fromkeys(name for fit in fits for name in fit.lines))
    others = [f"in {_RESIDUALS[name]} ({name})" for name in definitions if name != made.dataset_definition]
    notes = [
        "r: the mean over layers and images of "
        f"{_RESIDUALS[made.dataset_definition]} at the training lambda {made.lam0:g}.",
        f"R2: of this line{', and of lines ' if others else ''}{' and '.join(others)}.",
        f"Fitted on {', '.join(map(str, _totals(fits)))} held-out training images ({_heldout_words(made)}), "
        f"noisy ones as {stored_words(made.pixels)}; "
        f"{len(made.grid)} lambdas from {made.grid[0]:g} to {made.grid[-1]:g}; "
        f"weights {made.weights[:12]}.",
    ]
    if best := [_best_line(fit) for fit in fits if fit.image_candidates]:
        notes.append(
            f"A lambda per image takes the line that is best on as many other held-out images: {'; '.join(best)}."
        )
    return Table(
        name=slug("lambda-fits", made.model, made.dataset, key=key),
        title=f"Lambda fits: {_named(made)}, {made.dataset}: lambda as a line in the residual r",
        columns=(
            *(Column("noise"), Column("lambda")),
            *(Column("R2" if name == made.dataset_definition else f"R2 {name}", digits=4) for name in definitions),
            Column("fit"),
        ),
        rows=tuple(
            (
                fit.noise,
                _line_words(fit),
                *(fit.lines[it].r2 if it in fit.lines else None for it in definitions),
                fit.digest,
            )
            for fit in fits
        ),
        notes=tuple(notes),
    )


def _levels(fits: Sequence[LambdaFit], key: tuple[str, ...]) -> Table:
    made = fits[0]
    levels = {to_json(level): level for fit in fits for level in fit.levels}.values()
    return Table(
        name=slug("lambda-levels", made.model, made.dataset, key=key),
        title=f"Best lambda at each noise level: {_named(made)}, {made.dataset}",
        columns=(
            *(Column("noise"), Column("level"), Column("r", significant=4), Column("best lambda")),
            Column("accuracy at best lambda", percent=True, digits=1),
            Column(f"at training lambda {made.lam0:g}", percent=True, digits=1),
        ),
        rows=tuple(
            (
                _FAMILIES.get(level.noise, level.noise),
                ", ".join(f"{name}={value:g}" for name, value in level.parameters.items()),
                level.residuals.get(made.dataset_definition),
                level.best_lam,
                *(_accuracy(made, level, lam) for lam in (level.best_lam, made.lam0)),
            )
            for level in sorted(levels, key=lambda level: corruption_rank(level.noise))
        ),
        notes=("Accuracy on the held-out images, in percent with 95 % intervals.",),
    )


def _layers(fits: Sequence[LambdaFit], key: tuple[str, ...]) -> Table:
    made = fits[0]
    levels = {to_json(level): level for fit in fits for level in fit.levels}.values()
    return Table(
        name=slug("lambda-layers", made.model, made.dataset, key=key),
        title=f"Best lambda of each layer at each noise level: {_named(made)}, {made.dataset}",
        columns=(
            *(Column("noise"), Column("level"), Column("lambda of each layer")),
            *(Column(it, percent=True, digits=1) for it in ("accuracy", "at the best of all layers")),
        ),
        rows=tuple(
            (
                _FAMILIES.get(level.noise, level.noise),
                ", ".join(f"{name}={value:g}" for name, value in level.parameters.items()),
                " ".join(f"{lam:g}" for lam in level.layer_lams),
                estimate(Score(level.layer_correct, level.total)),
                _accuracy(made, level, level.best_lam),
            )
            for level in sorted(levels, key=lambda level: corruption_rank(level.noise))
        ),
        notes=(
            "Layers in the order of the network. Both accuracies are those of the held-out images that the lambdas "
            "were chosen on, in percent with 95 % intervals. Each layer has a line through its own lambdas.",
        ),
    )


def _named(fit: LambdaFit) -> str:
    """Returns the model with what it computed in, unless that is float32."""
    return ", ".join([fit.model, *precision_words(fit.precision)])


def _line_words(fit: LambdaFit) -> str:
    """Returns the line of a fit as text."""
    line = fit.lines.get(fit.dataset_definition)
    if line is None or len({level.best_lam for level in fit.levels}) == 1:
        return f"{fit.levels[0].best_lam:g}, best at every level" if fit.levels else MISSING
    return f"{line.intercept:.3g} {'-' if line.slope < 0 else '+'} {abs(line.slope):.3g} r"


def _best_line(fit: LambdaFit) -> str:
    name, accuracy = max(fit.image_candidates.items(), key=lambda candidate: candidate[1])
    through = "noise levels" if "/levels" in name else "single images"
    through += ", a line per layer" if fit.layer_image_lines else ""
    return f"{fit.noise}, in {_RESIDUALS[fit.image_definition]} through {through} ({100 * accuracy:.1f} % right)"


def _totals(fits: Sequence[LambdaFit]) -> list[int]:
    """Returns how many images each noise level was measured on."""
    return sorted({level.total for fit in fits for level in fit.levels})


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
    """Returns the fits that have a line, by model and what it computed in, weights and data set."""
    groups: dict[tuple[str, str, str], list[LambdaFit]] = defaultdict(list)
    for fit in _ordered(fits):
        if fit.levels and fit.dataset_definition in fit.lines:
            groups[(_named(fit), fit.weights, fit.dataset)].append(fit)
    return groups


def _accuracies(fit: LambdaFit, level: NoiseLevel) -> dict[float, Estimate]:
    """Returns the accuracies at each lambda of the grid."""
    scores = (estimate(Score(correct, level.total)) for correct in level.correct)
    return {lam: found for lam, found in zip(fit.grid, scores, strict=True) if found is not None}


def _ordered(fits: Sequence[LambdaFit]) -> list[LambdaFit]:
    """Returns the fits in the order of tables and charts, each once."""
    unique = {fit.digest: fit for fit in sorted(fits, key=lambda fit: fit.created)}

    def rank(fit: LambdaFit) -> tuple[object, ...]:
        noise = corruption_rank(NOISE_KERNELS.get(fit.noise, fit.noise))  # behind them the pooled fit
        return (fit.model, fit.weights, fit.dataset, noise, fit.digest)

    return sorted(unique.values(), key=rank)


def _heldout_words(fit: LambdaFit) -> str:
    """Says whether the model was trained on the images its lambda was fitted on."""
    return "trained on them too" if fit.trained_on_heldout else "never trained on"
