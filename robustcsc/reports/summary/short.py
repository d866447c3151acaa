"""What a terminal has room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robustcsc.measurements.perturbations import Attack, Corruption, MinimalBudget
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Table
from robustcsc.reports.attacks.adversarial import attack_list_tables, worst_case_tables
from robustcsc.reports.attacks.fooling import NOISE, UNIVERSAL, fooling_tables
from robustcsc.reports.attacks.minimal import minimal_tables
from robustcsc.reports.attacks.tables import attack_tables
from robustcsc.reports.cohorts.cohorts import of_kinds
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.cohorts.words import NOISES, corruption_words
from robustcsc.reports.comparisons.gains import gain_tables
from robustcsc.reports.corruptions.tables import corruption_tables
from robustcsc.reports.summary.headline import headline_tables

if TYPE_CHECKING:
    from robustcsc.reports.page.sections import Section

_LONG = ("severity", "fits", "paired")
"""Sections that are left to the page."""


def short_tables(records: Sequence[Record]) -> list[Table]:
    """Returns the tables on what one command measured."""
    records = joined(records)
    if of_kinds(records, MinimalBudget):
        return minimal_tables(records)
    made = (record.measurement.perturbation for record in records)
    if attacks := {(it.steps, it.threat) for it in made if isinstance(it, Attack)}:
        tables = attack_list_tables(records) if len(attacks) > 1 else attack_tables(records)
        return [*tables, *worst_case_tables(records)]
    if of_kinds(records, *UNIVERSAL, *NOISE):
        return fooling_tables(records)
    if not of_kinds(records, Corruption):
        return headline_tables(records)
    return [*headline_tables(records), *corruption_tables(records), *map(_without_severities, gain_tables(records))]


def story(records: Sequence[Record]) -> list[Table]:
    """Returns who is how accurate, and what the adaptive lambda gained on each noise, in two tables."""
    records = joined(records)
    singles = tuple(map(corruption_words, NOISES))
    tables = [table.keep(lambda column: not column.heading.startswith(singles)) for table in headline_tables(records)]
    for table in gain_tables(records, kinds=(Corruption,), others=False):
        gains = replace(table, title="What the adaptive lambda gained over the training lambda")
        tables.append(gains.keep(lambda column: not column.heading.startswith(("run", "compared with", "severit"))))
    return tables


def terminal_tables(sections: Iterable[Section]) -> list[Table]:
    """Returns the tables of a report that are not left to the page."""
    shown: list[Table] = []
    for section in sections:
        if section.anchor == "paper":
            shown += section.tables
        elif section.anchor not in _LONG:
            shown += map(_without_severities, section.tables)
    return shown


def _without_severities(table: Table) -> Table:
    return table.keep(lambda column: not column.heading.startswith("severity "))
