"""Where every number of a report comes from, and the commands that measure it again."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Sequence

from robustcsc.measurements.commands import joined_commands
from robustcsc.measurements.perturbations import Clean
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Record, Subject
from robustcsc.presentation.table import Cell, Column, Table
from robustcsc.reports.cohorts.cells import told_once
from robustcsc.reports.cohorts.cohorts import Cohort
from robustcsc.reports.cohorts.words import source_words


def provenance_table(records: Sequence[Record]) -> Table:
    """Returns one row per run, weights, cohort, device and versions; a note tells what is the same in all rows."""
    alike: dict[tuple[Subject, Cohort, bool, str, tuple[tuple[str, str], ...]], list[Record]] = defaultdict(list)
    for record in records:
        it, how = record.measurement, record.provenance
        clean, versions = isinstance(it.perturbation, Clean), tuple(how.versions.items())
        alike[it.subject, Cohort.of(record), clean, _device_words(how), versions].append(record)
    groups: dict[tuple[str | int | None, ...], list[Record]] = defaultdict(list)
    for (subject, cohort, clean, device, versions), members in alike.items():
        origin = cohort.origin
        source = source_words(origin) if origin else "clean images" if clean else "perturbed images"
        table = origin.table.words if origin else None
        packages = ", ".join(f"{package} {version}" for package, version in versions)
        made = (subject.run, subject.model, subject.weights[:12], cohort.dataset, cohort.split)
        images = (f"{cohort.images} for files {cohort.files}" if cohort.files else cohort.images, cohort.total)
        groups[(*made, *images, source, table, cohort.seed, cohort.precision, device, packages)] += members
    rows = []
    for key in sorted(groups, key=lambda key: tuple((cell is None, 0 if cell is None else cell) for cell in key)):
        times = [record.provenance.created for record in groups[key]]
        seconds = sum(record.provenance.seconds for record in groups[key])
        rows.append((*key, len(groups[key]), seconds, min(times), max(times)))
    before = ("run", "model", "weights", "data set", "split", "images", "n", "source", "severity table")
    columns = (*before, "seed", "precision", "device", "versions", "records")
    whole = Table(
        name="provenance",
        title="How the numbers were made",
        columns=(
            *map(Column, columns),
            *(Column("seconds", digits=1), Column("first measured"), Column("last measured")),
        ),
        rows=tuple(rows),
        notes=("Same seed and device give the same images; CPU and GPU may differ in bits.",),
    )
    return told_once(whole)


def _device_words(how: Provenance) -> str:
    """Returns the device, and on a GPU its driver and how float32 was rounded."""
    driver = [f"driver {how.driver}"] if how.driver else []
    rounding = [] if how.tf32 is None else ["TF32" if how.tf32 else "no TF32"]
    return ", ".join([how.device, *driver, *rounding])


def command_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table with a row per command; empty without records."""
    rows: list[tuple[Cell, ...]] = []
    for command, members in joined_commands(records):
        counts = sorted({record.measurement.images.count for record in members})
        n = counts[0] if len(counts) == 1 else ", ".join(map(str, counts))
        words = shlex.join(["robustcsc", *command.words])
        rows.append((members[0].measurement.subject.run, n, len(members), words))
    if not rows:
        return []
    note = (
        "Each command measures at least the records it stands for; records that are in the store already are not "
        "measured again. Where the images lie and how many of them were used is part of the command, as it was when "
        "they were measured."
    )
    columns = tuple(map(Column, ("run", "n", "records", "command")))
    ordered = tuple(sorted(rows, key=lambda row: (row[0], row[-1])))
    return [Table("commands", "Commands that measure the same again", columns, ordered, (note,))]
