"""The engine that measures the cells of a plan here, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.plan import Cell, Chain
from robustcsc.measurements.perturbations import Clean
from robustcsc.measurements.records import Measurement, Metric, Outcomes, Record
from robustcsc.measurements.store import ResultStore
from robustcsc.progress import parts


def run(plan: Iterable[Chain], evaluator: Evaluator, store: ResultStore, cells: int | None = None) -> Iterator[Record]:
    """Yields the records of a plan; what the store has is not measured again, unless the evaluator remeasures.

    Progress is that of the whole plan: each cell counts with its effort, or all alike if the plan is made on the way.
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
    sizes = [1.0] * cells if cells else [cell.effort for chain in plan for cell in chain]
    told = iter(parts(evaluator.progress, sizes))
    for chain in plan:
        standing: Outcomes | None = None
        for cell, progress in [(cell, next(told)) for cell in chain]:
            evaluator.progress = progress
            records = _stored(cell, evaluator, store, standing)
            if isinstance(cell.perturbation, Clean):
                evaluator.right |= {it.measurement.policy: it.outcomes for it in records if it.outcomes is not None}
            yield from records
            if len(chain) > 1:
                standing = records[0].outcomes
                if not records[0].met:
                    break


def planned(
    plan: Iterable[Chain], store: ResultStore, *, remeasure: bool = False
) -> tuple[list[Record], list[Measurement]]:
    """Returns the records of a plan that the store has, and what `run` would measure; measures nothing."""
    records: list[Record] = []
    missing: list[Measurement] = []
    for chain in plan:
        for cell in chain:
            lacking = _lacking(cell, store, remeasure=remeasure)
            found = [] if remeasure else [it for each in cell.measurements if (it := store.get(each)) is not None]
            records += found
            if lacking:  # the metrics of a cell come together
                missing += [each for each in cell.measurements if remeasure or store.get(each) is None]
            if len(chain) > 1 and found and not lacking and not found[0].met:
                break
    return records, missing


def _lacking(cell: Cell, store: ResultStore, *, remeasure: bool) -> tuple[Measurement, ...]:
    """Returns what of a cell is to be measured."""
    # No image may be classified as labelled when clean; then the last metric has no record, and none is missing.
    return tuple(
        each
        for each in cell.measurements
        if each.metric is not Metric.FOOLING_OF_CORRECT and (remeasure or store.get(each) is None)
    )


def _stored(cell: Cell, evaluator: Evaluator, store: ResultStore, standing: Outcomes | None) -> list[Record]:
    """Returns the records of a cell, measuring those that the store lacks."""
    lacking = _lacking(cell, store, remeasure=evaluator.remeasure)
    if lacking:
        fooling = lacking[0].metric is not Metric.ACCURACY
        measured = evaluator.measure(cell if fooling else Cell(lacking), standing)
        # The first metric of a cell is stored last: where it is, the others are too.
        for record in reversed(measured) if fooling else measured:
            store.add(record, remeasure=evaluator.remeasure)
    found = (store.get(each) for each in cell.measurements)
    return [record for record in found if record is not None]
