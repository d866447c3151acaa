"""The engine that measures the cells of a plan here, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.plan import Cell, Chain
from robustcsc.evaluation.planned import lacking, planned
from robustcsc.measurements.perturbations import Clean
from robustcsc.measurements.records import Metric, Outcomes, Record
from robustcsc.measurements.store import ResultStore
from robustcsc.progress import Whole


def run(plan: Iterable[Chain], evaluator: Evaluator, store: ResultStore, cells: int | None = None) -> Iterator[Record]:
    """Yields the records of a plan; what the store has is not measured again, unless the evaluator remeasures.

    Progress is that of what is left of the whole plan: each cell counts with its effort, or all alike if the plan is
    made on the way.
    Each record is on the disk before the next cell begins, so that an interrupted command loses one cell at most.
    Of attacks in turn, those after the last image was broken are left out.

    Args:
        plan: What to measure.
        evaluator: What measures a cell.
        store: Where records are kept.
        cells: How many cells a plan has that is made on the way; ``None`` for one that is there.

    Raises:
        RobustCSCError: As `Evaluator.measure`, or the store cannot be written.
    """
    plan = plan if cells else list(plan)
    efforts = [] if cells else [it.effort for it in planned(plan, evaluator, store)]
    whole, left = Whole(evaluator.progress, cells or sum(efforts)), iter(efforts)
    for chain in plan:
        standing: Outcomes | None = None
        broken = False
        for cell, effort in [(cell, next(left, 1.0)) for cell in chain]:
            if broken or not lacking(cell, store, remeasure=evaluator.remeasure):
                whole.drop(effort)
            else:
                evaluator.progress = whole.part(effort)
            if broken:
                continue
            records = _stored(cell, evaluator, store, standing)
            if isinstance(cell.perturbation, Clean):
                evaluator.right |= {it.measurement.policy: it.outcomes for it in records if it.outcomes is not None}
            yield from records
            if len(chain) > 1:
                standing, broken = records[0].outcomes, not records[0].met


def _stored(cell: Cell, evaluator: Evaluator, store: ResultStore, standing: Outcomes | None) -> list[Record]:
    """Returns the records of a cell, measuring those that the store lacks."""
    asked = lacking(cell, store, remeasure=evaluator.remeasure)
    if asked:
        fooling = asked[0].metric is not Metric.ACCURACY
        measured = evaluator.measure(cell if fooling else Cell(asked), standing)
        # The first metric of a cell is stored last: where it is, the others are too.
        for record in reversed(measured) if fooling else measured:
            store.add(record, remeasure=evaluator.remeasure)
    found = (store.get(each) for each in cell.measurements)
    return [record for record in found if record is not None]
