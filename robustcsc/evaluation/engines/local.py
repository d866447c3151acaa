"""The engine that measures the cells of a plan here, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.plan import Cell, Chain
from robustcsc.measurements.records import Metric, Outcomes, Record
from robustcsc.measurements.store import ResultStore


def run(
    plan: Iterable[Chain], evaluator: Evaluator, store: ResultStore, *, remeasure: bool = False
) -> Iterator[Record]:
    """Yields the records of a plan; what the store has is not measured again.

    Each record is on the disk before the next cell begins, so that an interrupted command loses one cell at most. Of
    attacks in turn, those after the last image was broken are left out.

    Args:
        plan: The cells.
        evaluator: Measures one cell.
        store: Where records are kept.
        remeasure: Whether to measure again what the store has.

    Raises:
        RobustCSCError: The model, the images or the files do not suit what is measured, or the store cannot be written.
    """
    for chain in plan:
        standing: Outcomes | None = None
        for cell in chain:
            records = _measured(cell, evaluator, store, standing, remeasure)
            yield from records
            if len(chain) > 1:
                standing = records[0].outcomes
                if not records[0].correct:
                    break


def _measured(
    cell: Cell, evaluator: Evaluator, store: ResultStore, standing: Outcomes | None, remeasure: bool
) -> list[Record]:
    """Returns the records of a cell, measuring those that the store lacks."""
    stored = [None if remeasure else store.get(each) for each in cell.measurements]
    # No image may be classified as labelled when clean; then this metric has no record, and none is missing.
    lacking = tuple(
        each
        for each, record in zip(cell.measurements, stored, strict=True)
        if record is None and each.metric is not Metric.FOOLING_OF_CORRECT
    )
    if lacking:
        whole = cell if any(each.metric is not Metric.ACCURACY for each in lacking) else Cell(lacking)
        # The first metric of a cell is stored last: where it is, the others are too.
        measured = evaluator.measure(whole, standing)
        fooling = measured[0].measurement.metric is not Metric.ACCURACY
        for record in reversed(measured) if fooling else measured:
            store.add(record, replace=remeasure)
    found = (store.get(each) for each in cell.measurements)
    return [record for record in found if record is not None]
