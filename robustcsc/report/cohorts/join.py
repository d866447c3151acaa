"""Which records show the same images, where their facts alone do not say so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Corruption, Source
from robustcsc.measurements.records import Record
from robustcsc.report.cohorts.cohorts import Shown


def joined(records: Sequence[Record]) -> Shown:
    """Returns the records with the same images named alike, so that they stand in one table.

    Copies of a data set in folders of different names get one name, the first one. Published files have a fingerprint
    for each corruption and severity, which is left out; cells for which the records name several files keep it, so that
    two versions of the files never meet.

    Args:
        records: What was measured, of any number of runs that are to stand side by side.
    """
    if isinstance(records, Shown):
        return records
    names: dict[str, str] = {}
    files: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for record in records:
        images = record.measurement.images
        names[images.fingerprint] = min(images.dataset, names.get(images.fingerprint, images.dataset))
        files[_cell(record)].add(_files(record))
    return Shown(_renamed(record, names, alone=len(files[_cell(record)]) == 1) for record in records)


def _renamed(record: Record, names: dict[str, str], *, alone: bool) -> Record:
    it = record.measurement
    name = names[it.images.fingerprint]
    if name != it.images.dataset:
        it = replace(it, images=replace(it.images, dataset=name))
    if alone and _files(record):
        it = replace(it, perturbation=replace(it.perturbation, files=""))
    return record if it is record.measurement else replace(record, measurement=it)


def _files(record: Record) -> str:
    perturbation = record.measurement.perturbation
    return perturbation.files if isinstance(perturbation, Corruption) else ""


def _cell(record: Record) -> tuple[object, ...]:
    it = record.measurement
    made = replace(it.perturbation, files="") if isinstance(it.perturbation, Corruption) else it.perturbation
    official = isinstance(made, Corruption) and made.source is Source.OFFICIAL
    return (it.images.fingerprint, made if official else None)
