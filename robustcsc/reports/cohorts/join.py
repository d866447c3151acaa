"""Which records show the same images, where their facts alone do not say so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Corruption, Perturbation
from robustcsc.measurements.records import Record
from robustcsc.reports.cohorts.cohorts import Shown


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
    files: dict[tuple[str, Perturbation], set[str]] = defaultdict(set)
    for record in records:
        images = record.measurement.images
        names[images.fingerprint] = min(images.dataset, names.get(images.fingerprint, images.dataset))
        if found := _files(record):
            files[_cell(record)].add(found)
    return Shown(_renamed(record, names, files) for record in records)


def _renamed(record: Record, names: Mapping[str, str], files: Mapping[tuple[str, Perturbation], set[str]]) -> Record:
    it = record.measurement
    name = names[it.images.fingerprint]
    if name != it.images.dataset:
        it = replace(it, images=replace(it.images, dataset=name))
    if _files(record) and len(files[_cell(record)]) == 1:
        it = replace(it, perturbation=replace(it.perturbation, files=""))
    return record if it is record.measurement else replace(record, measurement=it)


def _files(record: Record) -> str:
    perturbation = record.measurement.perturbation
    return perturbation.files if isinstance(perturbation, Corruption) else ""


def _cell(record: Record) -> tuple[str, Perturbation]:
    """Returns the images and the corruption that published files hold."""
    it = record.measurement
    return it.images.fingerprint, replace(it.perturbation, files="")
