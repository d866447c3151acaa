"""Which papers' tables a report can lay what was measured into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from robustcsc.measurements.perturbations import Universal
from robustcsc.measurements.records import Record
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.table import Table
from robustcsc.reports.comparisons.groups import groups_of
from robustcsc.reports.papers import detrame, res_msd_csc, sdnet, tddl
from robustcsc.reports.papers.template import lay

Paper = Literal["sdnet", "detrame", "res-msd-csc", "tddl"]
"""Papers whose tables a report can fill."""


def paper_tables(paper: Paper, records: Sequence[Record], trainings: Iterable[Training] = ()) -> list[Table]:
    """Returns all tables of a paper with what was measured, beside the figures printed there.

    Args:
        paper: Whose tables.
        records: What was measured, of any number of runs.
        trainings: How the measured models were trained, as far as that is known: they tell sizes, times and seeds.
    """
    made = (record.measurement.perturbation for record in records)
    threats = [it.threat for it in made if isinstance(it, Universal)]
    tables = {
        "sdnet": sdnet.TABLES,
        "detrame": detrame.tables(threats),
        "res-msd-csc": res_msd_csc.TABLES,
        "tddl": tddl.TABLES,
    }[paper]
    groups = groups_of(records, trainings)
    return [lay(table, groups) for table in tables]
