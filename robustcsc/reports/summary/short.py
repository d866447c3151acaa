"""What a terminal has room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robustcsc.measurements.perturbations import MinimalBudget
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Table
from robustcsc.reports.attacks.adversarial import attack_list_tables
from robustcsc.reports.attacks.fooling import NOISE, UNIVERSAL, fooling_tables
from robustcsc.reports.attacks.minimal import minimal_tables
from robustcsc.reports.cohorts.cohorts import of_kinds
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.corruptions.tables import clean_tables, corruption_tables
from robustcsc.reports.page.sections import Section, verdict_section

_LONG = ("verdict", "severity", "fits")
"""Sections that are printed by themselves, or left to the page."""


def short_section(records: Sequence[Record]) -> Section:
    """Returns what one command measured: the verdict and its table, or the tables of what no verdict is about."""
    records = joined(records)
    verdict = verdict_section(records)
    if of_kinds(records, MinimalBudget):
        return Section("verdict", "Verdict", tables=minimal_tables(records))
    if of_kinds(records, *UNIVERSAL, *NOISE):
        return Section("verdict", "Verdict", sentences=verdict.sentences, tables=fooling_tables(records))
    if not verdict.tables:
        return Section("verdict", "Verdict", tables=_uncredited(records))
    return verdict


def _uncredited(records: Sequence[Record]) -> list[Table]:
    """Returns what fixed lambdas and the oracle gave, of whom no verdict speaks."""
    return [*clean_tables(records), *corruption_tables(records), *attack_list_tables(records)]


def terminal_tables(sections: Iterable[Section]) -> list[Table]:
    """Returns the tables of a report that are neither its verdict nor left to the page."""
    return [table for section in sections if section.anchor not in _LONG for table in section.tables]
