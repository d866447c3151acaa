"""Which records show the same images, where their conditions alone do not say so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from robustcsc.records import Condition, Record
from robustcsc.report.cohorts import Shown


def joined(records: Sequence[Record]) -> Shown:
    """Returns the records with the same images named alike, so that cells of published files can be averaged.

    Published files have a fingerprint for each corruption and severity, followed by that of the clean images they
    belong to; only the latter is kept. Cells for which the records name several files keep both, in words, so that
    two versions of the files never meet.

    Args:
        records: What was measured, of any number of runs that are to stand side by side.
    """
    if isinstance(records, Shown):
        return records
    files: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for record in records:
        files[_cell(record.condition)].add(record.condition.images)
    return Shown(_renamed(record, alone=len(files[_cell(record.condition)]) == 1) for record in records)


def _renamed(record: Record, *, alone: bool) -> Record:
    it = record.condition
    images = _clean_images(it) if alone else it.images.replace("/", " for ")
    return record if images == it.images else replace(record, condition=replace(it, images=images))


def _clean_images(condition: Condition) -> str:
    """Returns the fingerprint of the clean images."""
    clean = condition.images.partition("/")[2] if condition.source == "official" else ""
    return clean or condition.images


def _cell(condition: Condition) -> tuple[object, ...]:
    it = condition
    return (it.kind, it.dataset, it.split, it.source, it.spec, _clean_images(it), it.seed, it.name, it.severity)
