"""From records to verdicts: which columns, which rows, who leads, and who differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Source, Universal
from robustcsc.measurements.policies import Fitted, Policy, TrainingLambda, lambda_of
from robustcsc.measurements.provenance import Doubt
from robustcsc.measurements.records import Metric, Precision, Record, Subject
from robustcsc.measurements.statistics import Shares
from robustcsc.measurements.threats import NORMS, Norm
from robustcsc.measurements.trainings import Training
from robustcsc.reports.attacks.adversarial import attacked_directly, left_by_all, survivors
from robustcsc.reports.attacks.flags import Flags, flags_by_measurement
from robustcsc.reports.attacks.tables import usual_budget
from robustcsc.reports.cohorts.cells import summary_columns
from robustcsc.reports.cohorts.cohorts import (
    Cohort,
    Nested,
    Rows,
    Setting,
    Variant,
    by_cohort,
    corruptions_of,
    of_newest_fit,
    part_of,
    ranked,
    severities_of,
    total_score,
)
from robustcsc.reports.cohorts.words import NOISES, corruption_rank, policy_rank
from robustcsc.reports.corruptions.baselines import Baseline
from robustcsc.reports.corruptions.corruption_errors import mean_corruption_errors
from robustcsc.reports.verdict.facts import Condition, Contrast, Kind, Ratios, Result, Row, Verdict
from robustcsc.reports.verdict.missing import is_usable, missing_in

MOST_ROWS = 8
"""Rows that still make a small table."""

_MAIN = (Kind.NOISE, Kind.CORRUPTIONS, Kind.ATTACK, Kind.CLEAN, Kind.FOOLING)
"""What the first sentence is about, as far as it was measured."""

Found = Mapping[Condition, Mapping[Variant, Result]]
"""Results of single weights, by column."""


def verdicts(
    records: Sequence[Record], trainings: Iterable[Training] = (), baseline: Baseline | None = None
) -> list[Verdict]:
    """Returns a verdict for each split of each data set and precision, that of most cells first; empty without results.

    Args:
        records: What was measured, of any number of runs, as `robustcsc.reports.cohorts.join.joined` returns it.
        trainings: How the models were trained; those that differ in nothing but their seed share their rows.
        baseline: Whose errors the others are divided by; without one there is no mCE.
    """
    ratios = {} if baseline is None else mean_corruption_errors(records, baseline)
    alike = {it.weights: repr(it.without_seed) for it in trainings}
    by_images: dict[tuple[str, str, Precision], dict[Cohort, Mapping[Setting, Rows]]] = defaultdict(dict)
    for cohort, settings in by_cohort(records).items():
        by_images[cohort.dataset, cohort.split, cohort.precision][cohort] = settings
    made = (_verdict(nested, alike) for nested in sorted(by_images.values(), key=_cells, reverse=True))
    found = [it for it in made if it is not None]
    return [replace(it, ratios=_ratios(it, baseline, ratios)) for it in found] if baseline else found


def _cells(nested: Nested) -> int:
    return sum(len(series) for settings in nested.values() for rows in settings.values() for series in rows.values())


def _verdict(nested: Nested, alike: Mapping[str, str]) -> Verdict | None:
    (corrupted, elsewhere), attacked = _corrupted(nested), _attacked(nested)
    found: Found = {**_clean(nested, [*corrupted, *attacked]), **corrupted, **attacked} or _fooled(nested)
    rows = _rows(found, alike)
    if not rows:
        return None
    told = [it for row in rows for it, result in row.results.items() if not result.transfer] or list(found)
    main = min(told, key=lambda it: _MAIN.index(it.kind))
    leads: dict[Condition, Row] = {}
    contrasts: list[Contrast] = []
    for condition in found:
        if compared := _compared(rows, main, condition):
            leads[condition], rivals = compared
            contrasts += [_contrast(condition, leads[condition], other) for other in rivals]
    telling = dict.fromkeys([*leads.values(), *(it.second for it in contrasts), *rows])
    kept = set(list(telling)[:MOST_ROWS])
    shown = [row for row in rows if row in kept]
    return Verdict(
        conditions=tuple(found),
        rows=tuple(shown),
        main=main,
        leads=leads,
        contrasts=tuple(contrasts),
        doubts=_doubts(nested, shown),
        left_out=len(rows) - len(shown),
        elsewhere=elsewhere,
        missing=missing_in(found, rows, nested),
    )


def _ratios(verdict: Verdict, baseline: Baseline, found: Mapping[Cohort, Mapping[Variant, float]]) -> Ratios | None:
    """Returns the mCE of the rows on the images that the verdict is about; ``None`` if no row has one."""
    here = next((found[it.cohort] for it in verdict.conditions if it.names and it.cohort in found), {})
    by_row = {row: [here.get(Variant(it, row.policy)) for it in row.subjects] for row in verdict.rows}
    whole = {row: [it for it in ratios if it is not None] for row, ratios in by_row.items() if None not in ratios}
    return Ratios(baseline, whole) if whole else None


def _clean(nested: Nested, others: Sequence[Condition]) -> Found:
    """Returns what was measured on clean images: on those of the first other column if there are any."""
    choices = {
        Condition(Kind.CLEAN, cohort): {it: _result([series[0]]) for it, series in rows.items() if is_usable(it)}
        for cohort, settings in part_of(nested, Clean).items()
        for rows in settings.values()
    }
    wanted = [it.cohort.clean_images for it in others]

    def suits(condition: Condition) -> tuple[object, ...]:
        images = condition.cohort.clean_images
        return (-wanted.index(images) if images in wanted else -len(wanted), *_extent([choices[condition]]), images[3])

    best = max(choices, key=suits, default=None)
    return {best: choices[best]} if best else {}


def _corrupted(nested: Nested) -> tuple[Found, tuple[Cohort, ...]]:
    """Returns the means over corruptions, of the images and source that say most, and all other ones."""
    choices: list[tuple[tuple[object, ...], Cohort, Found]] = []
    for cohort, settings in part_of(nested, Corruption).items():
        by_name, found = corruptions_of(settings), {}
        for kind, names in _means(list(by_name)):
            severities = tuple(tuple(severities_of(by_name[name].values())) for name in names)
            wanted = [(name, severity) for name, each in zip(names, severities, strict=True) for severity in each]
            whole = {
                variant: [by_name[name][variant][severity] for name, severity in wanted]
                for variant in {variant for name in names for variant in by_name[name]}
                if is_usable(variant) and all(severity in by_name[name].get(variant, {}) for name, severity in wanted)
            }
            if whole:
                found[Condition(kind, cohort, tuple(names), severities)] = {
                    it: _result(cells) for it, cells in whole.items()
                }
        official = cohort.origin is not None and cohort.origin.source is Source.OFFICIAL
        says = (*_extent(found.values()), len(by_name), cohort.total, official, -cohort.seed)
        choices.append((says, cohort, found))
    if not choices:
        return {}, ()
    _, chosen, best = max(choices, key=lambda it: it[0])
    return best, tuple(cohort for _, cohort, _ in choices if cohort != chosen)


def _extent(columns: Iterable[Iterable[Variant]]) -> tuple[int, int]:
    """Returns how many models, and then results, a set of images allows to compare: the set of most is taken."""
    variants = [it for column in columns for it in column]
    return len({it.subject for it in variants}), len(variants)


def _means(measured: Sequence[str]) -> list[tuple[Kind, list[str]]]:
    """Returns what corruptions are averaged: the noises, and the standard ones if there are others than noises."""
    means = [names for _, names in summary_columns(measured)] or [sorted(measured, key=corruption_rank)]
    return [(Kind.NOISE if set(names) <= set(NOISES) else Kind.CORRUPTIONS, names) for names in means]


def _attacked(nested: Nested) -> Found:
    """Returns what attacks left, one budget for each norm, on the images that most rows were attacked on."""
    flags = flags_by_measurement(
        record
        for settings in part_of(nested, Attack).values()
        for rows in settings.values()
        for series in rows.values()
        for record in series.values()
    )
    by_threat: dict[Condition, dict[Variant, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for cohort, settings in part_of(nested, Attack).items():
        for setting, rows in settings.items():
            if isinstance(setting, Attack) and setting.threat.epsilon:
                for variant, series in rows.items():
                    if is_usable(variant):
                        by_threat[Condition(Kind.ATTACK, cohort, threat=setting.threat)][variant].append(series[0])
    found: dict[Condition, dict[Variant, Result]] = {}
    for norm in NORMS:
        choices = [it for it in by_threat if it.threat and it.threat.norm == norm]
        if choices:
            usual = usual_budget(norm, [it.threat.epsilon for it in choices if it.threat])
            choices = [it for it in choices if it.threat and it.threat.epsilon == usual]
            best = max(choices, key=lambda it: (*_extent([by_threat[it]]), it.cohort.total, -it.cohort.seed))
            found[best] = {variant: _under_attack(records, flags) for variant, records in by_threat[best].items()}
    return found


def _under_attack(records: Sequence[Record], flags: Flags) -> Result:
    kept = of_newest_fit(records)
    together = survivors(kept)
    strongest = min(kept, key=lambda record: record.met).measurement.perturbation
    return Result(
        scores=(left_by_all(kept),),
        shares=Shares.of([together]),
        attacks=len(kept),
        strongest=strongest if isinstance(strongest, Attack) else None,
        together=together is not None,
        transfer=not attacked_directly(kept),
        flags=tuple(dict.fromkeys(flag for record in kept for flag in flags[record.measurement] or ())),
    )


def _fooled(nested: Nested) -> Found:
    """Returns how many predictions universal perturbations change: in each norm the largest, of most rows."""
    choices: dict[Condition, dict[Variant, Result]] = defaultdict(dict)
    for cohort, settings in part_of(nested, Universal, metric=Metric.FOOLING).items():
        for setting, rows in settings.items():
            if isinstance(setting, Universal):
                usable = {it: _result([series[0]]) for it, series in rows.items() if is_usable(it)}
                choices[Condition(Kind.FOOLING, cohort, threat=setting.threat)] |= usable
    best: dict[Norm, Condition] = {}
    for it in sorted(
        choices, key=lambda it: (it.threat.epsilon if it.threat else 0, len(choices[it]), -it.cohort.seed)
    ):
        best |= {it.threat.norm: it} if it.threat else {}
    return {best[norm]: choices[best[norm]] for norm in NORMS if norm in best}


def _rows(found: Found, alike: Mapping[str, str]) -> list[Row]:
    """Returns the rows in the order of tables; weights that were trained alike but for the seed share theirs."""
    grouped: dict[tuple[str, Policy], list[Variant]] = defaultdict(list)
    for variant in ranked(it for results in found.values() for it in results):
        grouped[alike.get(variant.subject.weights, variant.subject.weights), variant.policy].append(variant)
    made = []
    for (_, policy), variants in grouped.items():
        once = list({it.subject.weights: it for it in variants}.values())  # the same weights may lie in several runs
        whole = {
            condition: Result.of_seeds([results[it] for it in once])
            for condition, results in found.items()
            if all(it in results for it in once)
        }
        if whole:
            made.append(Row(tuple(it.subject for it in once), policy, whole))
    return made


def _compared(rows: Sequence[Row], main: Condition, condition: Condition) -> tuple[Row, list[Row]] | None:
    """Returns the row that a column is about and what it is compared with there; ``None`` if it was not measured there.

    That is the row that leads in the main column, if it was measured in this one, too; else, and under attack, the one
    that leads there. Under attack only those count that were attacked directly: a transfer test tests no robustness.
    """
    measured = [row for row in rows if condition in row.results and not row.results[condition].transfer]
    by = condition if condition.kind is Kind.ATTACK or condition not in _ranking(rows, main)[0].results else main
    if not measured:
        return None
    lead, *others = _ranking(measured, by)
    own = [row for row in measured if row.subjects == lead.subjects and row.policy == TrainingLambda() and row != lead]
    return lead, own + others


def _ranking(rows: Sequence[Row], by: Condition) -> list[Row]:
    """Returns one row for each model, the best one in a column first."""
    sign = 1 if by.kind is Kind.FOOLING else -1
    return sorted(_entered(rows, by), key=lambda row: sign * row.results[by].score.rate)


def _entered(rows: Iterable[Row], main: Condition) -> list[Row]:
    """Returns a row for each model: its adaptive lambda, the first in the order of tables, if that was measured.

    Which policy is best is not read off the test images.
    """
    entered: dict[tuple[Subject, ...], Row] = {}
    order = sorted(rows, key=lambda row: (not isinstance(row.policy, Fitted), policy_rank(row.policy)))
    for row in order:
        if main in row.results:
            entered.setdefault(row.subjects, row)
    return list(entered.values())


def _contrast(condition: Condition, first: Row, second: Row) -> Contrast:
    return Contrast(condition, first, second, first.results[condition].minus(second.results[condition]))


def _doubts(nested: Nested, rows: Sequence[Row]) -> dict[str, tuple[Doubt, ...]]:
    """Returns what speaks against all figures of a run, by its name."""
    shown = {subject for row in rows for subject in row.subjects}
    found: dict[str, dict[Doubt, None]] = defaultdict(dict)
    for settings in nested.values():
        for variants in settings.values():
            for variant, series in variants.items():
                for record in series.values():
                    if variant.subject in shown and record.provenance.doubts:
                        found[variant.subject.run] |= dict.fromkeys(record.provenance.doubts)
    return {run: tuple(doubts) for run, doubts in found.items()}


def _result(records: Sequence[Record]) -> Result:
    fits = {it.fit for record in records if isinstance(it := lambda_of(record.measurement.policy), Fitted)}
    shares = Shares.of([record.outcomes for record in records])
    return Result(scores=(total_score(records),), shares=shares, told=len(fits) > 1)
