"""Runs of one model whose results become those of one run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustcsc import runs
from robustcsc.errors import StoreError
from robustcsc.files import write_whole
from robustcsc.locks import alone
from robustcsc.measurements.facts import replace, unsealed
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import PRECISIONS, AttackDetails, BudgetDetails, Record
from robustcsc.measurements.references import Reference
from robustcsc.measurements.store import ResultStore
from robustcsc.reports.cohorts.words import perturbation_words, policy_words, with_protocol
from robustcsc.runs import Run
from robustcsc.session.choices import run_of, written
from robustcsc.session.results import keep_results

if TYPE_CHECKING:
    from robustcsc.session.session import Session


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What came of joining runs.

    Attributes:
        run: The run that has everything now.
        records: How many records it has.
        added: How many of them are new to it.
        repeated: How many records were there already, or in an earlier run: those of the first stay, with when, where
            and how long they were measured.
    """

    run: Run
    records: int
    added: int
    repeated: int


def merge(of: Sequence[Session | Run | str], into: str) -> Merged:
    """Joins the results of runs of one model in one run; no record is lost, and none is there twice.

    The weights, lambda fits, statistics of clean images and universal perturbations come along. The records of `into`
    come first, then those of the others in their order. A refused merge writes nothing; one that was interrupted goes
    on when it is repeated.

    Args:
        of: Sessions, runs, or names or folders of runs.
        into: Name of a run, which may be new or one of these.

    Raises:
        StoreError: A run does not exist, has no results or cannot be read; or two runs have different weights, lambda
            fits of one noise family, perturbations of one name, or counts or outcomes of one measurement.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.open("sdnet-digits")
        >>> measured = sdnet.sweep(sdnet.images(limit=50), corruptions="fog", severities=[1])
        >>> merged = rc.merge([sdnet], into="all")
        >>> merged.run.name, merged.added, rc.merge([sdnet], into="all").added
        ('all', 2, 0)
    """
    target = _target(into)
    target.check_writable()
    found = {it.folder.resolve(): it for it in map(run_of, of)}
    found.pop(target.folder.resolve(), None)
    sources = [*found.values()]
    if not sources:
        raise StoreError(f"There is nothing to merge into {target.name!r}: name other runs.")
    # Whatever is wrong is told before anything is written.
    new, repeated = _new_records(target, sources)
    files = _new_files(target, sources)
    doing = f"Run {target.name!r} is being merged into"
    with written(target), alone(target.store_path, doing, "choose another --into"):
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
        for place in (it for run in sources for it in run.places.values()):
            if place.data not in target.places:
                target.remember(place)
        with ResultStore(target.store_path) as store:
            with store.transaction():
                for record, run in new:
                    if (known := store.get(record.measurement)) is not None:  # from a process that measures meanwhile
                        _check_alike(known, target, record, run)
                    store.add(record)
            records = len(store.records())
    keep_results(target)
    return Merged(run=target, records=records, added=len(new), repeated=repeated)


def _new_records(target: Run, sources: Sequence[Run]) -> tuple[list[tuple[Record, Run]], int]:
    """Returns the records that a run lacks, under its name, with the runs that they come from, and the repetitions.

    Raises:
        StoreError: Two runs contradict each other, or one has no results.
    """
    seen: dict[str, tuple[Record, Run]] = {}
    repeated = 0
    for run in (target, *sources):
        with ResultStore(run.store_path, read_only=True) as store:
            records = store.records()
        if not records and run is not target:
            raise StoreError(f"{run.folder} has no results to merge yet: measure some, or leave it out.")
        for record in records:
            what = record.measurement
            if what.key in seen:
                _check_alike(*seen[what.key], record, run)
                repeated += 1
                continue
            labelled = replace(what, subject=replace(what.subject, run=target.name))
            seen[what.key] = (record if run is target else replace(record, measurement=labelled), run)
    return [each for each in seen.values() if each[1] is not target], repeated


def _counted(record: Record) -> tuple[object, ...]:
    """Returns all that was counted, and nothing of how."""
    match record.details:
        case AttackDetails(rounded_correct=more):
            counts: object = more
        case BudgetDetails(levels=levels, minimal=minimal):
            counts = (levels, minimal)
        case details:
            counts = details
    return record.met, record.total, record.outcomes, counts


def _check_alike(first: Record, of: Run, second: Record, other: Run) -> None:
    """Refuses two records of one measurement with different counts or outcomes.

    Raises:
        StoreError: They differ.
    """
    if _counted(first) == _counted(second):
        return
    made, what = first.measurement.perturbation, first.measurement
    counts = [f"{it.met} of {it.total} in {run.folder}" for it, run in ((first, of), (second, other))]
    differ = " and ".join(counts)
    if (first.met, first.total) == (second.met, second.total):
        differ = f"{differ}, but not the same ones"
    raise StoreError(
        f"Two runs contradict each other on {with_protocol(perturbation_words(made), made)} under the "
        f"{policy_words(what.policy)} (key {what.key}): {differ}. Leave one of them out, or measure one again with "
        "--remeasure."
    )


def _new_files(target: Run, sources: Sequence[Run]) -> dict[Path, bytes]:
    """Returns the weights, lambda fits, statistics of clean images and universal perturbations that a run lacks.

    Raises:
        StoreError: Two runs have different ones of one name.
    """
    seen: dict[Path, tuple[str, Run]] = {}
    files: dict[Path, bytes] = {}
    for run in (target, *sources):
        for path, told, identity in _files(run):
            place = target.folder / path.relative_to(run.folder)
            first, of = seen.setdefault(place, (identity, run))
            if first != identity:
                raise StoreError(
                    f"{of.folder} and {run.folder} have different {told} ({first[:12]} and {identity[:12]}), so their "
                    "results belong to different runs: leave one of them out."
                )
            if of is run and run is not target:
                beside = [path.with_suffix(".png")] if path.parent == run.perturbations else []
                files |= {place.with_name(it.name): it.read_bytes() for it in (path, *beside) if it.is_file()}
    return files


def _files(run: Run) -> Iterator[tuple[Path, str, str]]:
    """Yields the files that belong to the records of a run, with what they are in words and their identity."""
    if run.weights_path.is_file():
        yield run.weights_path, "weights", _told(run.weights_path).get("weights", "")
    for precision in PRECISIONS:
        if (reference := Reference.load(run.folder, precision)) is not None:
            yield Reference.path(run.folder, precision), "statistics of clean images", reference.digest
        for noise, path in run.fit_paths(precision).items():
            yield path, f"lambda fits to {noise} noise", LambdaFit.load(path).digest
    for path in sorted(run.perturbations.glob("*.safetensors")):
        yield path, f"perturbations {path.stem}", _told(path).get("tensor", "")


def _told(path: Path) -> dict[str, str]:
    """Returns what a safetensors file says of its tensors.

    Raises:
        StoreError: It cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return unsealed(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}): restore a copy, or leave its run out.") from error


def _target(name: str) -> Run:
    """Returns the run of a name or folder, which may be new.

    Raises:
        StoreError: A new run cannot be called so.
    """
    if os.path.isdir(name) or (runs.RUNS / name).is_dir():
        return runs.find(name)
    runs.check_name(name)
    return Run(runs.RUNS / name)
