"""Accuracy under many attacks: what all of them leave, and attack by attack.

The accuracy under several attacks on the same images is that of an attacker who may try all of them: an image counts
only if it stays right under each. It is computed image by image, from the outcomes that records keep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import and_

import numpy as np

from robustcsc.measurements.perturbations import Attack
from robustcsc.measurements.policies import Adapted, FixedLambda, Oracle
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import AttackDetails, Metric, Outcomes, Record
from robustcsc.measurements.statistics import Score
from robustcsc.measurements.threats import ThreatModel
from robustcsc.presentation.table import Cell, Column, Table
from robustcsc.reports.attacks.flags import FLAG_WORDS, FLAGS_NOTE, Flags, flags_by_measurement, is_white_box
from robustcsc.reports.attacks.tables import BUDGETS, attacks_by_cohort
from robustcsc.reports.cohorts.cells import PERCENT, WHO, estimate, percentages, rate_of
from robustcsc.reports.cohorts.cohorts import Cohort, Labels, Variant, labels_of, of_kinds, of_newest_fit
from robustcsc.reports.cohorts.words import (
    THEN,
    attack_words,
    policy_rank,
    protocol_name,
    protocol_rank,
    protocol_words,
    threat_words,
)

ALL_ATTACKS = (
    "Under all attacks an image counts only if it stays right under each of them, counted image by image: the robust "
    "accuracy as far as it was measured, an upper bound of the true one."
)
_CALLS = "Calls are per attacked image, counted on the model."
_IN_TURN = f"A{THEN}B: B attacked the images that A left, and both are counted."
_WORST_NOTES = (
    ALL_ATTACKS,
    "Attacks under the protocol static are crafted without knowing the fitted lambda: a transfer test.",
    "Of fixed lambdas the best one is shown. They and the oracle, which uses the test labels, do not enter the last "
    "row, which is a minimum over lambda policies, too.",
)


def worst_case_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: what all attacks on a model leave, per lambda policy and under all of them.

    Records without outcomes of single images are left out.
    """
    labels = labels_of(records)
    rows: dict[Cohort, list[tuple[Cell, ...]]] = defaultdict(list)
    for (cohort, _, _, threat), attacks in _by_target(records).items():
        rows[cohort] += _worst_rows(threat, attacks, labels)
    words = ("run", "budget", "lambda policy", "attacks", "strongest single attack")
    columns = (*map(Column, words), *percentages(("left by it", "left by all")))
    return [
        Table(
            name=cohort.file_name("worst-case"),
            title=cohort.titled("Under all attacks"),
            columns=columns,
            rows=tuple(found),
            notes=(PERCENT, *_WORST_NOTES),
        )
        for cohort, found in rows.items()
    ]


def attack_list_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: every attack with its protocol, what it left, what it cost, and its flags."""
    labels, flags = labels_of(records), flags_by_measurement(records)
    columns = (
        *(*WHO, Column("how the attack met lambda"), Column("attack"), *percentages(("accuracy", "in 8 bits"))),
        *(Column("attacked"), Column("forward calls", digits=1), Column("gradient calls", digits=1), Column("flags")),
    )
    tables = []
    for cohort, attacks in attacks_by_cohort(records).items():
        found = sorted(attacks, key=lambda it: (it.variant.rank, protocol_rank(it.made)))
        rows = tuple((*labels[variant], *_attack_cells(made, record, flags)) for variant, made, record in found)
        notes = (
            *([FLAGS_NOTE] if any(flags[record.measurement] for _, _, record in found) else []),
            *(PERCENT, BUDGETS, _CALLS),
            *([_IN_TURN] if any(len(made.steps) > 1 for _, made, _ in found) else []),
        )
        title = cohort.titled("Attack by attack")
        tables.append(Table(cohort.file_name("attack-list"), title, columns, rows, notes))
    return tables


def _by_target(records: Iterable[Record]) -> dict[tuple[Cohort, str, str, ThreatModel], list[Record]]:
    """Returns the attacks that are taken together, by images, run, weights and budget."""
    found: dict[tuple[Cohort, str, str, ThreatModel], list[Record]] = defaultdict(list)
    for record in of_kinds(records, Attack):
        it, made = record.measurement, record.measurement.perturbation
        counted = it.metric is Metric.ACCURACY and record.outcomes is not None
        if counted and isinstance(made, Attack) and made.threat.epsilon:
            found[Cohort.of(record), it.subject.run, it.subject.weights, made.threat].append(record)
    return {it: found[it] for it in sorted(found, key=lambda it: (it[0].rank, it[1], it[3].norm, it[3].epsilon))}


def _by_variant(records: Iterable[Record]) -> dict[Variant, list[Record]]:
    """Returns the records by run and policy; where lambda was fitted anew in between, those of the newest fit."""
    found: dict[Variant, list[Record]] = defaultdict(list)
    for record in records:
        found[Variant.of(record)].append(record)
    ordered = sorted(found.items(), key=lambda item: policy_rank(item[0].policy))
    return {variant: of_newest_fit(mine) for variant, mine in ordered}


def attacked_directly(records: Iterable[Record]) -> bool:
    """Whether any attack asked the model under the policy that is scored: transfer tests alone say little."""
    attacks = (record.measurement.perturbation for record in records)
    return any(
        isinstance(it, Attack) and (is_white_box(it) or (it.saved is None and it.protocol is Protocol.BLACK_BOX))
        for it in attacks
    )


def survivors(records: Sequence[Record]) -> Outcomes | None:
    """Returns which images stay right under each of several attacks; ``None`` if that was not kept of all of them."""
    kept = [record.outcomes for record in records if record.outcomes is not None]
    if len(kept) < len(records) or len({it.count for it in kept}) != 1:
        return None
    left = reduce(and_, (np.frombuffer(it.packed, np.uint8) for it in kept))
    return Outcomes(packed=left.tobytes(), count=kept[0].count)


def left_by_all(records: Sequence[Record]) -> Score:
    """Returns what several attacks leave, image by image, as far as single outcomes were kept; at most the fewest."""
    fewest = min(record.met for record in records)
    left = survivors([record for record in records if record.outcomes is not None])
    return Score(fewest if left is None else min(fewest, left.bits.bit_count()), records[0].total)


def _worst_rows(threat: ThreatModel, attacks: Sequence[Record], labels: Labels) -> list[tuple[Cell, ...]]:
    by_variant = _by_variant(attacks)
    fixed = {variant: found for variant, found in by_variant.items() if isinstance(variant.policy, FixedLambda)}
    best = max(fixed, key=lambda variant: left_by_all(fixed[variant]).met, default=None)
    budget = threat_words(threat)
    rows: list[tuple[Cell, ...]] = []
    for variant, found in by_variant.items():
        if variant in fixed and variant != best:
            continue
        run, policy = labels[variant]
        words = f"{policy} (best of {len(fixed)})" if variant == best and len(fixed) > 1 else policy
        words = words if attacked_directly(found) else f"{words}; transfer tests only"
        rows.append((run, budget, words, *_worst_cells(found)))
    others = [it for it in by_variant if it not in fixed and it.policy != Oracle()]
    chosen = [it for it in others if not isinstance(it.policy, Adapted)]
    kept = [record for variant in chosen for record in by_variant[variant]]
    if kept and len(rows) > 1:
        rows.append((rows[0][0], budget, "all of these", *_worst_cells(kept)))
    return rows


def _worst_cells(records: Sequence[Record]) -> tuple[Cell, ...]:
    strongest = min(records, key=lambda record: record.met)
    made = strongest.measurement.perturbation
    assert isinstance(made, Attack)
    protocol = protocol_name(made)
    words = attack_words(made) if protocol == Protocol.PLAIN else f"{attack_words(made)} ({protocol})"
    return (len(records), words, rate_of(strongest), estimate(left_by_all(records)))


def _attack_cells(made: Attack, record: Record, flags: Flags) -> tuple[Cell, ...]:
    details = record.details if isinstance(record.details, AttackDetails) else AttackDetails()
    cost, rounded, raised = details.cost, details.rounded_correct, flags[record.measurement]
    calls = (cost.forward_calls / cost.attacked, cost.gradient_calls / cost.attacked) if cost and cost.attacked else ()
    return (
        protocol_words(made, record.measurement.policy),
        attack_words(made),
        rate_of(record),
        None if rounded is None else rounded / record.total,
        cost.attacked if cost else None,
        *(calls or (None, None)),
        None if raised is None else "; ".join(FLAG_WORDS[flag] for flag in raised) or "none",
    )
