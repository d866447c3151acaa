"""Accuracy under single attacks, and what the other tables of attacks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from robustcsc.measurements.perturbations import Attack, MinimalBudget, RandomControl, Universal
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Metric, Record
from robustcsc.presentation.table import Column, Table
from robustcsc.reports.cohorts.cells import PERCENT, WHO, accuracy_of, percentages
from robustcsc.reports.cohorts.cohorts import (
    Cohort,
    Labels,
    Rows,
    Series,
    Setting,
    Variant,
    by_cohort,
    is_basic,
    labels_of,
)
from robustcsc.reports.cohorts.words import attack_words, protocol_name, protocol_rank, protocol_words, setting_rank

BUDGETS = "Budgets are in pixel units of [0, 1]."


class Attacked(NamedTuple):
    """One attack on one variant."""

    variant: Variant
    made: Attack
    record: Record


def attacks_in(settings: Mapping[Setting, Rows]) -> list[Attacked]:
    """Returns the attacks of one cohort by variant, then in the order of table columns."""
    found = [
        Attacked(variant, made, measured[0])
        for made, rows in settings.items()
        if isinstance(made, Attack)
        for variant, measured in rows.items()
    ]
    return sorted(found, key=lambda it: (it.variant.rank, setting_rank(it.made)))


def full_words(made: Attack | MinimalBudget | Universal | RandomControl) -> str:
    """Returns the words of an attack that tell it from a search for the smallest budget."""
    return f"smallest budget of {attack_words(made)}" if isinstance(made, MinimalBudget) else attack_words(made)


def with_protocol(words: str, made: Attack | MinimalBudget | Universal | RandomControl) -> str:
    """Returns the words of an attack followed by its protocol, unless that is plain."""
    name = protocol_name(made)
    return words if name == Protocol.PLAIN else f"{words}, {name}"


def attack_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: accuracy under single attacks and the protocol in words (SDNet, Table 4).

    What suites measure beyond that stands in `robustcsc.reports.attacks.adversarial`.
    """
    labels = labels_of(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        attacks = {made: rows for made, rows in settings.items() if is_basic(made)}
        if attacks and cohort.metric is Metric.ACCURACY:
            tables.append(_attack_table(cohort, attacks, labels))
    return tables


def _attack_table(cohort: Cohort, attacks: Mapping[Attack, Rows], labels: Labels) -> Table:
    columns: dict[str, dict[tuple[Variant, Protocol], Series]] = {}
    protocols: dict[tuple[Variant, Protocol], Attack] = {}
    for made in sorted(attacks, key=setting_rank):
        column = columns.setdefault(attack_words(made), {})
        for variant, measured in attacks[made].items():
            column[variant, made.protocol] = measured
            protocols[variant, made.protocol] = made
    ordered = sorted(protocols, key=lambda row: (row[0].rank, protocol_rank(protocols[row])))
    return Table(
        name=cohort.file_name("attacks"),
        title=f"Attacks: {cohort.title}",
        columns=(*WHO, Column("how the attack met lambda"), *percentages(columns)),
        rows=tuple(
            (
                *labels[row[0]],
                protocol_words(protocols[row], row[0].policy),
                *(accuracy_of(column.get(row, {}).get(0)) for column in columns.values()),
            )
            for row in ordered
        ),
        notes=(f"{PERCENT} n = {cohort.total} images. {BUDGETS}",),
    )
