"""The engine that measures the cells of a plan here, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.plan import Cell, Chain
from robustcsc.measurements.records import Metric, Outcomes, Record
from robustcsc.measurements.store import ResultStore


def run(plan: Iterable[Chain], evaluator: Evaluator, store: ResultStore) -> Iterator[Record]:
    """Yields the records of a plan; what the store has is not measured again, unless the evaluator remeasures.

    Each record is on the disk before the next cell begins, so that an interrupted command loses one cell at most.
    Of attacks in turn, those after the last image was broken are left out.

    Raises:
        RobustCSCError: As `Evaluator.measure`, or the store cannot be written.
    """
    for chain in plan:
        standing: Outcomes | None = None
        for cell in chain:
            records = _stored(cell, evaluator, store, standing)
            yield from records
            if len(chain) > 1:
                standing = records[0].outcomes
                if not records[0].met:
                    break


def _stored(cell: Cell, evaluator: Evaluator, store: ResultStore, standing: Outcomes | None) -> list[Record]:
    """Returns the records of a cell, measuring those that the store lacks."""
    # No image may be classified as labelled when clean; then the last metric has no record, and none is missing.
    lacking = tuple(
        each
        for each in cell.measurements
        if each.metric is not Metric.FOOLING_OF_CORRECT and (evaluator.remeasure or store.get(each) is None)
    )
    if lacking:
        fooling = lacking[0].metric is not Metric.ACCURACY
        measured = evaluator.measure(cell if fooling else Cell(lacking), standing)
        # The first metric of a cell is stored last: where it is, the others are too.
        for record in reversed(measured) if fooling else measured:
            store.add(record, remeasure=evaluator.remeasure)
    found = (store.get(each) for each in cell.measurements)
    return [record for record in found if record is not None]
