"""Accuracy under single attacks, and what the other tables of attacks share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from robustcsc.measurements.perturbations import Attack
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Column, Table
from robustcsc.reports.cohorts.cells import PERCENT, WHO, accuracy_of, percentages
from robustcsc.reports.cohorts.cohorts import Cohort, Labels, Variant, by_cohort, is_basic, labels_of, part_of
from robustcsc.reports.cohorts.words import attack_words, protocol_rank, protocol_words, setting_rank

BUDGETS = "Budgets are in pixel units of [0, 1]."


class Attacked(NamedTuple):
    """One attack on one variant."""

    variant: Variant
    made: Attack
    record: Record


def attacks_by_cohort(records: Sequence[Record]) -> dict[Cohort, list[Attacked]]:
    """Returns the attacks of each cohort that has any, by variant, then in the order of table columns."""
    found: dict[Cohort, list[Attacked]] = {}
    for cohort, settings in part_of(by_cohort(records), Attack).items():
        attacks = [
            Attacked(variant, made, measured[0])
            for made, rows in settings.items()
            if isinstance(made, Attack)
            for variant, measured in rows.items()
        ]
        found[cohort] = sorted(attacks, key=lambda it: (it.variant.rank, setting_rank(it.made)))
    return found


def attack_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: accuracy under single attacks and the protocol in words (SDNet, Table 4).

    What suites measure beyond that stands in `robustcsc.reports.attacks.adversarial`.
    """
    labels = labels_of(records)
    tables = []
    for cohort, attacks in attacks_by_cohort(records).items():
        if basic := [it for it in attacks if is_basic(it.made)]:
            tables.append(_attack_table(cohort, basic, labels))
    return tables


def _attack_table(cohort: Cohort, attacks: Sequence[Attacked], labels: Labels) -> Table:
    columns = dict.fromkeys(attack_words(it.made) for it in sorted(attacks, key=lambda it: setting_rank(it.made)))
    rows: dict[tuple[Variant, Protocol], dict[str, Attacked]] = defaultdict(dict)
    for it in sorted(attacks, key=lambda it: (it.variant.rank, protocol_rank(it.made))):
        rows[it.variant, it.made.protocol][attack_words(it.made)] = it
    cells = []
    for (variant, _), found in rows.items():
        how = protocol_words(next(iter(found.values())).made, variant.policy)
        accuracies = (accuracy_of(found[words].record) if words in found else None for words in columns)
        cells.append((*labels[variant], how, *accuracies))
    return Table(
        name=cohort.file_name("attacks"),
        title=f"Attacks: {cohort.title}",
        columns=(*WHO, Column("how the attack met lambda"), *percentages(columns)),
        rows=tuple(cells),
        notes=(f"{PERCENT} n = {cohort.total} images. {BUDGETS}",),
    )
