"""Errors on corrupted images relative to a baseline: by corruption, mCE and relative mCE.

Errors are in percent. For a corruption c with errors E at the severities s and those of a baseline B,
``CE_c = sum_s E / sum_s B`` and ``relative CE_c = sum_s (E - E_clean) / sum_s (B - B_clean)``; mCE and relative mCE are
their means over the 15 standard corruptions (Hendrycks & Dietterich, ICLR 2019, section 4). They are given only where
all of these were measured, and no other corruption ever enters them. Errors themselves are what the accuracies leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS, mean_corruption_error, mean_error
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Column, Table
from robustcsc.reports.cohorts.cells import WHO, percentages
from robustcsc.reports.cohorts.cohorts import Cohort, Variant
from robustcsc.reports.cohorts.words import corruption_words
from robustcsc.reports.corruptions.baselines import ALEXNET, GENERATED, Baseline, check_baseline
from robustcsc.reports.corruptions.corrupted import Corrupted, Errors, corrupted

_LABELS = (Column("model"), *WHO)

_RATIOS = (
    "Errors in percent of the baseline's: CE is the sum of the errors over the severities 1-5, divided by the sum of "
    "the baseline; relative CE is the same with the clean error of each subtracted first. The mean of 15, over the "
    "standard corruptions, is mCE and relative mCE (Hendrycks & Dietterich, ICLR 2019)."
)
_WHOLE = f"mean of {len(STANDARD_CORRUPTIONS)}"


def corruption_error_tables(records: Sequence[Record], baseline: Baseline) -> list[Table]:
    """Returns the errors relative to the baseline for each set of images that it was measured on, and published ones.

    Args:
        records: What was measured, of any number of runs; those of a measured baseline have to be among them.
        baseline: Whose errors the others are divided by.

    Raises:
        StoreError: Nothing in `records` can be related to the baseline.
    """
    measured = corrupted(records)
    check_baseline(measured, baseline)
    found = ((cells, baseline.errors(cells)) for cells in measured if cells.standard)
    tables = [_ratio_table(cells, baseline, reference) for cells, reference in found if reference is not None]
    return tables if baseline.variant else [*tables, _alexnet_table()]


def mean_corruption_errors(records: Sequence[Record], baseline: Baseline) -> dict[Cohort, dict[Variant, float]]:
    """Returns the mCE, a fraction of the baseline's errors, of who was measured on all 15 standard corruptions."""
    found: dict[Cohort, dict[Variant, float]] = {}
    for cells in corrupted(records):
        if reference := baseline.errors(cells):
            ratios = {
                it: _mean_ratio(cells.errors(it), reference, STANDARD_CORRUPTIONS, False) for it in cells.everyone
            }
            found[cells.cohort] = {it: ratio for it, ratio in ratios.items() if ratio is not None}
    return found


def _ratio_table(cells: Corrupted, baseline: Baseline, reference: Errors) -> Table:
    others = [it for it in cells.variants if it != baseline.variant]  # it is 100 % of itself
    rows = [(variant, relative) for variant in others or cells.variants for relative in (False, True)]
    columns = {
        heading: [_mean_ratio(cells.errors(variant), reference, names, relative) for variant, relative in rows]
        for heading, names in _columns(cells.standard).items()
    }
    filled = {heading: of for heading, of in columns.items() if any(ratio is not None for ratio in of)}
    unclean = [", ".join(cells.label(it)) for it in cells.variants if it not in cells.clean]
    notes = [_RATIOS, baseline.words, *cells.missing_notes, *_undefined(reference)]
    if unclean:
        notes.append(f"Relative errors need the clean error, not measured on these images for {'; '.join(unclean)}.")
    notes += [] if baseline.suits(cells.cohort) else [GENERATED]
    return Table(
        name=cells.cohort.file_name("relative-errors"),
        title=cells.cohort.titled(f"Corruption errors relative to {baseline.name}"),
        columns=(*_LABELS, Column("measure"), *percentages(filled, digits=1)),
        rows=tuple(
            (*cells.label(variant), "relative CE" if relative else "CE", *(of[at] for of in filled.values()))
            for at, (variant, relative) in enumerate(rows)
        ),
        notes=(*notes, *cells.fixed_notes),
    )


def _alexnet_table() -> Table:
    columns = _columns(STANDARD_CORRUPTIONS)
    means = [mean_error({name: ALEXNET.by_corruption[name] for name in names}) for names in columns.values()]
    return Table(
        name="published-alexnet",
        title="Baseline AlexNet on ImageNet-C, as published and not measured here",
        columns=(Column("model"), *percentages(("clean", *columns), digits=1)),
        rows=(("AlexNet", ALEXNET.clean, *means),),
        notes=(
            "Errors in percent, means over the severities 1-5 (Hendrycks & Dietterich, ICLR 2019, Table 1); "
            "the mean over all 15 follows from the printed figures.",
        ),
    )


def _columns(corruptions: Iterable[str]) -> dict[str, Sequence[str]]:
    """Returns by heading what a column is the mean of: each corruption, and all 15 standard ones."""
    return {**{corruption_words(name): (name,) for name in corruptions}, _WHOLE: STANDARD_CORRUPTIONS}


def _mean_ratio(errors: Errors, reference: Errors, names: Sequence[str], relative: bool) -> float | None:
    """Returns the mean CE or relative CE of some corruptions, of all 15 (relative) mCE; each has to have its part."""
    if not set(names) <= set(errors.by_corruption) & set(reference.worse(relative)):
        return None
    clean, baseline_clean = (errors.clean, reference.clean) if relative else (0.0, 0.0)
    if clean is None or baseline_clean is None:
        return None
    ours = {name: errors.by_corruption[name] for name in names}
    return mean_corruption_error(ours, reference.by_corruption, clean=clean, baseline_clean=baseline_clean)


def _undefined(reference: Errors) -> list[str]:
    """Names the corruptions that allow no ratio to the baseline."""
    notes = []
    for relative, said in (
        (False, "No CE under {}: the baseline makes no error there."),
        (True, "No relative CE under {}: the baseline is no worse there than on clean images."),
    ):
        names = [name for name in reference.by_corruption if name not in reference.worse(relative)]
        standard = [corruption_words(name) for name in STANDARD_CORRUPTIONS if name in names]
        notes += [said.format(", ".join(standard))] if standard else []
    return notes
