"""Which papers' tables a report can lay what was measured into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from robustcsc.measurements.trainings import Training
from robustcsc.records import Record
from robustcsc.report import detrame_facts, res_msd_csc_facts, sdnet_facts, tddl_facts
from robustcsc.report.measured import groups_of
from robustcsc.report.table import Table
from robustcsc.report.template import lay

Paper = Literal["sdnet", "detrame", "res-msd-csc", "tddl"]
"""Papers whose tables a report can fill."""


def paper_tables(paper: Paper, records: Sequence[Record], trainings: Iterable[Training] = ()) -> list[Table]:
    """Returns all tables of a paper with what was measured, beside the figures printed there.

    Args:
        paper: Whose tables.
        records: What was measured, of any number of runs.
        trainings: How the measured models were trained, as far as that is known: they tell sizes, times and seeds.
    """
    groups = groups_of(records, trainings)
    if paper == "detrame":
        fooled = [it.condition for it in records if it.condition.kind == "uap"]
        budgets = {(it.norm or "", it.epsilon or 0.0) for it in fooled}
        return [lay(printed, groups) for printed in detrame_facts.tables(budgets)]
    facts = {"sdnet": sdnet_facts, "res-msd-csc": res_msd_csc_facts, "tddl": tddl_facts}[paper]
    return [lay(printed, groups) for printed in facts.TABLES]
