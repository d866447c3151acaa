"""How the numbers were made: one table on the lambda fits, one on the records."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustcsc.measurements.statistics import Score
from robustcsc.records import Record
from robustcsc.report.table import Table
from robustcsc.report.words import MISSING, corruption_words, score_words, slug

if TYPE_CHECKING:  # reports need no torch
    from robustcsc.measurements.fits import LambdaFit, NoiseLevel


#: How many of the lines compared per image the table of a fit names.
_BEST_SHOWN = 3


def fit_tables(fits: Sequence[LambdaFit]) -> list[Table]:
    """Returns an overview of all lambda fits, then one table per fit with every noise level; empty without fits."""
    ordered = ordered_fits(fits)
    return [_overview(ordered), *map(_levels, ordered)] if ordered else []


def ordered_fits(fits: Sequence[LambdaFit]) -> list[LambdaFit]:
    """Returns the fits in the order of tables and figures, each once."""
    unique = {fit.digest: fit for fit in sorted(fits, key=lambda fit: fit.created)}
    return sorted(unique.values(), key=lambda fit: (fit.model, fit.weights, fit.dataset, fit.noise, fit.digest))


def heldout_words(fit: LambdaFit) -> str:
    """Says whether the model was trained on the images its lambda was fitted on."""
    return "trained on them too" if fit.trained_on_heldout else "never trained on"


def _overview(fits: Sequence[LambdaFit]) -> Table:
    definitions = list(dict.fromkeys(name for fit in fits for name in fit.lines))
    rows = []
    for fit in fits:
        line = fit.lines.get(fit.dataset_definition)
        equation = f"{line.intercept:.4g} + {line.slope:.4g} r" if line else MISSING
        r2 = [f"{fit.lines[name].r2:.4f}" if name in fit.lines else MISSING for name in definitions]
        rows.append(
            (
                *(fit.model, fit.dataset, fit.noise, f"{fit.lam0:g}"),
                *(f"{fit.grid[0]:g} to {fit.grid[-1]:g}, {len(fit.grid)} values", str(len(fit.levels))),
                *(fit.dataset_definition, equation, *r2),
                fit.image_definition,
                *(_totals(fit), heldout_words(fit), str(fit.seed), fit.weights[:12], fit.digest),
            )
        )
    return Table(
        name="lambda-fits",
        title="Lambda fits: from the residual r of the CSC layers to the best lambda",
        columns=(
            *("model", "data set", "noise", "training lambda", "grid", "noise levels"),
            *("residual used", "lambda(r)", *(f"R2 {name}" for name in definitions), "residual per image"),
            *("held-out n", "held-out images", "seed", "weights", "fit"),
        ),
        rows=tuple(rows),
        notes=("Fitted on held-out images of the training split, never on the test split.",),
    )


def _levels(fit: LambdaFit) -> Table:
    definitions = list(dict.fromkeys(name for level in fit.levels for name in level.residuals))
    rows = []
    for level in fit.levels:
        residuals = (level.residuals.get(name) for name in definitions)
        rows.append(
            (
                corruption_words(level.noise),
                ", ".join(f"{name}={value:g}" for name, value in level.parameters.items()) or MISSING,
                *(MISSING if residual is None else f"{residual:.5g}" for residual in residuals),
                f"{level.best_lam:g}",
                *(_accuracy(fit, level, lam) for lam in (level.best_lam, fit.lam0)),
                str(level.total),
            )
        )
    r2 = ", ".join(f"{name} {line.r2:.4f}" for name, line in fit.lines.items())
    best = sorted(fit.image_candidates.items(), key=lambda candidate: -candidate[1])[:_BEST_SHOWN]
    tried = ", ".join(f"{name} {100 * accuracy:.2f}" for name, accuracy in best)
    return Table(
        name=slug("lambda-fit", fit.model, fit.dataset, fit.noise, key=(fit.digest,)),
        title=f"Lambda fit: {fit.model}, {fit.dataset}, {fit.noise} (fit {fit.digest})",
        columns=(
            *("noise", "level", *(f"residual ({name})" for name in definitions), "best lambda"),
            *("accuracy at best lambda", "accuracy at training lambda", "held-out n"),
        ),
        rows=tuple(rows),
        notes=(
            f"R2 of the line: {r2}.",
            f"Held-out images: {heldout_words(fit)}.",
            *(
                [
                    f"The line used per image is the best of {len(fit.image_candidates)} on held-out images "
                    f"(residual/what the line was fitted to, accuracy in percent): {tried}."
                ]
                if tried
                else []
            ),
        ),
    )


def _accuracy(fit: LambdaFit, level: NoiseLevel, lam: float) -> str:
    for value, correct in zip(fit.grid, level.correct, strict=True):
        if math.isclose(value, lam, abs_tol=1e-9):
            return score_words(Score(correct, level.total))
    return MISSING


def _totals(fit: LambdaFit) -> str:
    return ", ".join(map(str, sorted({level.total for level in fit.levels})))


def provenance_table(records: Sequence[Record]) -> Table:
    """Returns one row per run, weights, cohort, device and versions: where each number of a report comes from."""
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        it = record.condition
        made = (it.run, it.model, it.weights[:12], it.dataset, it.split, it.images, str(record.total))
        groups[(*made, it.source, it.spec or MISSING, str(it.seed), record.device, record.versions)].append(record)
    rows = []
    for key in sorted(groups):
        times = sorted(record.created for record in groups[key])
        seconds = sum(record.seconds for record in groups[key])
        rows.append((*key, str(len(groups[key])), f"{seconds:.1f}", times[0], times[-1]))
    return Table(
        name="provenance",
        title="How the numbers were made",
        columns=(
            *("run", "model", "weights", "data set", "split", "images", "n", "source", "severity table"),
            *("seed", "device", "versions", "records", "seconds", "first measured", "last measured"),
        ),
        rows=tuple(rows),
        notes=("Same seed and device give the same images; CPU and GPU may differ in bits.",),
    )
