"""Blind fits: what the estimated lambda does to held-out images that are clean or have no noise but something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.statistics import Score
from robustcsc.presentation.table import Column, Table
from robustcsc.presentation.words import slug
from robustcsc.reports.cohorts.cells import estimate
from robustcsc.reports.cohorts.words import corruption_words


def blind_tables(fits: Iterable[LambdaFit]) -> Iterator[Table]:
    """Yields a table for each fit with an estimator."""
    for fit in fits:
        if (made := fit.estimator) is None:
            continue
        rows = [
            (
                corruption_words(it.name),
                it.severity or None,
                estimate(Score(it.training, it.total)),
                estimate(Score(it.blind, it.total)),
                (it.blind - it.training) / it.total,
            )
            for it in made.harm
        ]
        best = max(fit.image_candidates.values(), default=0.0)
        yield Table(
            name=slug("blind-fit", fit.model, fit.dataset, key=(fit.digest,)),
            title=f"The policy blind on images without noise: {fit.model}, {fit.dataset}",
            columns=(
                *(Column("images"), Column("severity")),
                Column(f"at training lambda {fit.lam0:g}", percent=True, digits=1),
                Column("at the estimated lambda", percent=True, digits=1),
                Column("difference", percent=True, digits=2, signed=True),
            ),
            rows=tuple(rows),
            notes=(
                "Accuracy on held-out training images, in percent with 95 % intervals.",
                _guard_words(made.least_gain),
                f"With mixed noise levels, {100 * made.accuracy:.1f} % are right at the estimated lambda, "
                f"{100 * best:.1f} % at that of the best line.",
                f"{len(made.features)} features of single images; fit {fit.digest}.",
            ),
        )


def _guard_words(least_gain: float) -> str:
    if least_gain >= 1:
        return (
            "The training lambda is kept for all images: each guard that was tried costs clean images something, or "
            "all others together."
        )
    return (
        f"The training lambda is kept where another is expected to gain less than {100 * least_gain:g} points, the "
        "least that costs neither the clean images anything nor all others together."
    )
