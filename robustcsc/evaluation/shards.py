"""Cells that are cut into shards of images, and the parts that are joined again: the same records to the bit.

A cell is cut where what comes of an image depends on this image alone: clean and corrupted images, under any policy
that looks at no batch. The paper's adaptive policy takes one lambda from all images: shards give the residual of each
image first, and are predicted at the lambda of all residuals then.

Attacks are never cut, as their random starts depend on the batch that an image is in; nor are universal perturbations,
their random controls and random noise, whose fooling rates compare with the predictions of all clean images.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import reduce
from operator import add
from typing import TypeVar

from robustcsc.adaptive.policies import lambda_at
from robustcsc.evaluation.counting import record_of
from robustcsc.evaluation.jobs import Answer, Job, Part
from robustcsc.evaluation.plan import Cell, ModelFacts
from robustcsc.evaluation.predictions import best_of, tried
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Clean, Corruption
from robustcsc.measurements.policies import (
    Adaptive,
    FixedLambda,
    Policy,
    batches_of,
    by_data_set,
    lambda_of,
    with_lambda,
)
from robustcsc.measurements.records import Location, Record

T = TypeVar("T")
#: Yields jobs, and is sent their answers in the same order.
Steps = Generator[Sequence[Job], Sequence[Answer], T]


def cuttable(cell: Cell) -> bool:
    """Returns whether the images of a cell may be looked at by different workers."""
    alone = all(it.batch_size is None and batches_of(it.policy) is None for it in cell.measurements)
    return alone and isinstance(cell.perturbation, Clean | Corruption)


def shards(count: int, size: int) -> list[range]:
    """Returns the rows of each shard of `size` images; the last one may have fewer.

    Examples:
        >>> shards(5, 2)
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def measured_in_shards(
    cell: Cell, facts: ModelFacts, rows: Sequence[range], location: Location
) -> Steps[Sequence[Record]]:
    """Yields the jobs of a cell that is cut, and returns its records.

    Args:
        cell: It; the policies that choose lambda by the data set make a second round of jobs.
        facts: The model.
        rows: The images of each shard, all together those of the cell.
        location: Where they lie, for the records.
    """
    parts = _joined((yield [Job(cells=(cell,), rows=its) for its in rows]))
    at = {policy: _at_one_lambda(policy, facts, part) for policy, part in parts.items() if by_data_set(policy)}
    if at:
        again = Cell(tuple(replace(cell.measurements[0], policy=policy) for policy in dict.fromkeys(at.values())))
        found = _joined((yield [Job(cells=(again,), rows=its) for its in rows]))
        for policy, fixed in at.items():
            parts[policy] = Part(found[fixed].found + parts[policy].found, parts[policy].provenance)
    records = []
    for each in cell.measurements:
        its = [parts[policy] for policy in tried(facts.grid, each.policy)]
        best = best_of(each.policy, [part.found for part in its])
        how = replace(its[0].provenance, seconds=round(best.seconds, 3))
        records.append(record_of(each, best, how, location))
    return records


def _joined(answers: Sequence[Answer]) -> dict[Policy, Part]:
    """Returns what all shards gave under each policy; how is that of the last one."""
    return {
        policy: Part(
            reduce(add, [it.parts[policy].found for it in answers]),
            answers[-1].parts[policy].provenance,
            tuple(each for it in answers for each in it.parts[policy].residuals),
        )
        for policy in answers[0].parts
    }


def _at_one_lambda(policy: Policy, facts: ModelFacts, part: Part) -> Policy:
    """Returns the policy with the lambda that belongs to the residuals of all shards."""
    chosen = lambda_of(policy)
    assert isinstance(chosen, Adaptive)
    return with_lambda(policy, FixedLambda(lambda_at(facts.fit_by_digest(chosen.fit), part.residuals)))
