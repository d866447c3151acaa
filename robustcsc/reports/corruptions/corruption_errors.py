"""Tables of errors on corrupted images: means over the 15 standard corruptions, mCE and relative mCE.

Errors are in percent. For a corruption c with errors E at the severities s and those of a baseline B,
``CE_c = sum_s E / sum_s B`` and ``relative CE_c = sum_s (E - E_clean) / sum_s (B - B_clean)``; mCE and relative mCE are
their means over the 15 standard corruptions (Hendrycks & Dietterich, ICLR 2019, section 4). A mean is given only where
everything it covers was measured, and no other corruption ever enters it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from robustcsc.measurements.corruptions import (
    STANDARD_CORRUPTIONS,
    STANDARD_GROUPS,
    mean_corruption_error,
    mean_error,
)
from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import Score
from robustcsc.presentation.table import Cell, Column, Estimate, Noted, Table
from robustcsc.reports.cohorts.cells import WHO, estimate, percentages
from robustcsc.reports.cohorts.cohorts import SEVERITIES, Cohort, Variant
from robustcsc.reports.cohorts.words import corruption_words
from robustcsc.reports.corruptions.baselines import ALEXNET, GENERATED, Baseline, check_baseline
from robustcsc.reports.corruptions.corrupted import Corrupted, Errors, corrupted

_LABELS = (Column("model"), *WHO)

_ERRORS = "Errors in percent; that of a corruption is the mean over the severities 1-5 ({total} images each)."
_NO_INTERVAL = (
    "Means and ratios of errors stand without intervals: those of the accuracies are in the tables of means and by "
    "severity. Clean errors have a 95 % Wilson interval."
)
_RATIOS = (
    "In percent of the baseline: CE is the sum of the errors over the severities 1-5 divided by the baseline's sum; "
    "relative CE is the same with the clean error of each subtracted first. The last column is the mean over the 15 "
    "standard corruptions, mCE and relative mCE (Hendrycks & Dietterich, ICLR 2019)."
)
_WHOLE = f"mean of {len(STANDARD_CORRUPTIONS)}"


def corruption_error_tables(records: Sequence[Record], baseline: Baseline | None = None) -> list[Table]:
    """Returns for each set of images the errors, those relative to the baseline, and the extra corruptions apart.

    Args:
        records: What was measured, of any number of runs; those of a measured baseline have to be among them.
        baseline: Whose errors the others are divided by; without one there is no mCE.

    Raises:
        StoreError: Nothing in `records` can be related to the baseline.
    """
    measured = corrupted(records)
    if baseline is not None:
        check_baseline(measured, baseline)
    tables = []
    for cells in measured:
        reference = None if baseline is None else baseline.errors(cells)
        if cells.standard:
            tables.append(_error_table(cells, baseline, reference))
            if baseline is not None and reference is not None:
                tables.append(_ratio_table(cells, baseline, reference))
        if cells.extra:
            tables.append(_extra_table(cells))
    used = baseline is not None and baseline.variant is None
    return [*tables, _alexnet_table()] if used else tables


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


def _error_table(cells: Corrupted, baseline: Baseline | None, reference: Errors | None) -> Table:
    standard = cells.standard
    groups = {group: names for group, names in STANDARD_GROUPS.items() if set(names) & set(standard)}
    columns = _columns(standard, groups)
    ratios = [f"mCE, {baseline.name}", f"relative mCE, {baseline.name}"] if baseline and reference else []
    rows = []
    for variant in cells.variants:
        row: list[Cell] = [_mean(cells, variant, names) for names in columns.values()]
        if reference is not None:
            errors = cells.errors(variant)
            row += [_mean_ratio(errors, reference, STANDARD_CORRUPTIONS, relative) for relative in (False, True)]
        rows.append((*cells.label(variant), cells.cohort.total, _clean_error(cells, variant), *row))
    notes = [_ERRORS.format(total=cells.cohort.total), _NO_INTERVAL, _covered(groups)]
    if baseline is not None:
        absent = f"The baseline {baseline.name} was not measured on these images with this severity table."
        notes += [absent] if reference is None else [baseline.words]
    return Table(
        name=cells.cohort.file_name("errors"),
        title=cells.cohort.titled("Corruption errors"),
        columns=(*_LABELS, Column("images"), *percentages(("clean", *columns)), *percentages(ratios, digits=1)),
        rows=tuple(rows),
        notes=(*notes, *cells.missing_notes, *cells.fixed_notes),
    )


def _ratio_table(cells: Corrupted, baseline: Baseline, reference: Errors) -> Table:
    columns = _columns(cells.standard, {})
    rows = []
    for variant in cells.variants:
        errors = cells.errors(variant)
        for measure, relative in (("CE", False), ("relative CE", True)):
            row = (_mean_ratio(errors, reference, names, relative) for names in columns.values())
            rows.append((*cells.label(variant), measure, *row))
    unclean = [", ".join(cells.label(it)) for it in cells.variants if it not in cells.clean]
    notes = [_RATIOS, baseline.words, *cells.missing_notes, *_undefined(reference)]
    if unclean:
        notes.append(f"Relative errors need the clean error, not measured on these images for {'; '.join(unclean)}.")
    notes += [] if baseline.suits(cells.cohort) else [GENERATED]
    return Table(
        name=cells.cohort.file_name("relative-errors"),
        title=cells.cohort.titled(f"Corruption errors relative to {baseline.name}"),
        columns=(*_LABELS, Column("measure"), *percentages(columns, digits=1)),
        rows=tuple(rows),
        notes=(*notes, *cells.fixed_notes),
    )


def _extra_table(cells: Corrupted) -> Table:
    return Table(
        name=cells.cohort.file_name("extra-errors"),
        title=cells.cohort.titled("Errors on extra corruptions"),
        columns=(*_LABELS, Column("images"), *percentages(map(corruption_words, cells.extra))),
        rows=tuple(
            (*cells.label(variant), cells.cohort.total, *(_mean(cells, variant, [name]) for name in cells.extra))
            for variant in cells.variants
        ),
        notes=(
            "These are none of the 15 standard corruptions and enter no mean.",
            _ERRORS.format(total=cells.cohort.total),
            *cells.fixed_notes,
        ),
    )


def _alexnet_table() -> Table:
    columns = _columns(STANDARD_CORRUPTIONS, STANDARD_GROUPS)
    means = [mean_error({name: ALEXNET.by_corruption[name] for name in names}) for names in columns.values()]
    return Table(
        name="published-alexnet",
        title="Baseline AlexNet on ImageNet-C, as published and not measured here",
        columns=(Column("model"), *percentages(("clean", *columns), digits=1)),
        rows=(("AlexNet", ALEXNET.clean, *means),),
        notes=(
            "Errors in percent, means over the severities 1-5 (Hendrycks & Dietterich, ICLR 2019, Table 1); "
            "the means over several corruptions follow from the printed figures.",
        ),
    )


def _columns(corruptions: Iterable[str], groups: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Returns by heading what a column is the mean of: each corruption, each group, all 15 standard corruptions."""
    singles = {corruption_words(name): (name,) for name in corruptions}
    return {**singles, **{f"mean {group}": names for group, names in groups.items()}, _WHOLE: STANDARD_CORRUPTIONS}


def _mean(cells: Corrupted, variant: Variant, names: Sequence[str]) -> float | Noted | None:
    """Returns the mean error, or how many of its cells were measured."""
    found = cells.errors(variant).by_corruption
    if set(names) <= set(found):
        return mean_error({name: found[name] for name in names})
    there = sum(len(set(SEVERITIES) & set(cells.series(variant, name))) for name in names)
    return Noted(None, f"{there} of {len(names) * len(SEVERITIES)}") if there else None


def _clean_error(cells: Corrupted, variant: Variant) -> Estimate | None:
    record = cells.clean.get(variant)
    return None if record is None else estimate(Score(record.total - record.met, record.total))


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


def _covered(groups: Mapping[str, Sequence[str]]) -> str:
    said = "; ".join(f"{group}: {', '.join(map(corruption_words, names))}" for group, names in groups.items())
    return f"Means weigh every corruption equally. {said[:1].upper()}{said[1:]}."
