"""The tables of what `benchmarks/gpu.sh` found, with the targets and the papers' figures beside it.

    python benchmarks/gpu_report.py FOLDER       # results/gpu-<card>/: README.md, a CSV of each table, records.csv

What a run that was interrupted did not find is left out, and says so among the steps and the targets.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from rows import RESULTS

from robustcsc.files import write_whole
from robustcsc.measurements.facts import from_json
from robustcsc.measurements.frames import records_csv
from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import wilson_interval
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.csv_table import csv_text
from robustcsc.presentation.markdown import markdown_table, markdown_text
from robustcsc.presentation.table import Cell, Column, Estimate, Table
from robustcsc.reports.papers.papers import paper_tables

Row = dict[str, Any]
MEBIBYTE = 1 << 20
#: Targets: at least this many images per second at 32 px (geometric mean), of the bare forward passes, of the images
#: per second of the plain network in training, and of the clean accuracy; at most this many times the time of
#: inference at the training lambda, and seconds of both trainings.
ENGINE, SWEEP, TRAINING, CLEAN, ADAPTIVE, SECONDS = 1e5, 0.95, 0.98, 0.90, 1.05, 180


def tables(found: Row, records: Sequence[Record]) -> list[Table]:
    """Returns all tables, those without rows left out."""
    rows = {name: step["rows"] for name, step in found["steps"].items()}
    trained = rows.get("training", [])
    made = [Training(**row["training"]) for row in trained]
    papers = {it.name: it for it in paper_tables("sdnet", records, made)}
    laid = [
        targets(found, rows),
        steps(found),
        corruptions(rows.get("corruptions", [])),
        sweeps(rows.get("sweep", [])),
        ratios("throughput", "Images per second in training and inference", rows.get("throughput", [])),
        ratios("compiled", "Images per second in compiled training", rows.get("compiled", [])),
        memory(rows.get("throughput", [])),
        trainings(trained),
        epochs(rows.get("epochs", [])),
        *(papers[f"sdnet-table-{number}"] for number in (2, 3, 4) if records),
        fits(rows.get("robustness", [])),
        times(rows.get("robustness", [])),
        ratios("adaptive", "Time of inference", rows.get("adaptive", [])),
        fooling(rows.get("uap", [])),
        tests(rows.get("tests", [])),
    ]
    return [table for table in laid if table.rows]


def targets(found: Row, rows: dict[str, list[Row]]) -> Table:
    """What was to be reached."""
    sparse, plain = found["scale"]["sparse"], found["scale"]["plain"]
    rates = [row["images_per_second"] for row in rows.get("corruptions", []) if row["size"] == 32]
    trained = rows.get("training", [])
    clean = [row["met"] / row["total"] for row in trained if row["network"] == sparse]
    seconds = [sum(row["seconds"] for row in trained)] if len(trained) == 2 else []
    listed = [
        _target("corruptions at 32 px, geometric mean (images/s)", rates and [geometric_mean(rates)], ">=", ENGINE),
        *_each(
            rows.get("sweep", []),
            lambda row: f"bare forward passes / sweep, {row['model']}, {row['precision']}",
            "efficiency",
            (">=", SWEEP),
        ),
        *_each(
            [row for row in rows.get("throughput", []) if (row["quantity"], row["numerator"]) == ("training", sparse)],
            lambda row: f"training, {sparse} / {plain}, {row['precision']}, batches of {row['batch_size']}",
            "ratio",
            (">=", TRAINING),
        ),
        *_each(
            [row for row in rows.get("adaptive", []) if "adaptive" in row["numerator"]],
            lambda row: f"{row['numerator']} / plain, {row['precision']}, batches of {row['batch_size']}",
            "ratio",
            ("<=", ADAPTIVE),
        ),
        _target(f"clean accuracy of {sparse}", clean, ">=", CLEAN),
        _target("both trainings (s)", seconds, "<=", SECONDS),
    ]
    columns = (Column("what"), Column("measured", significant=4), Column("target"), Column("holds"))
    return Table("targets", "Targets", columns, tuple(listed))


def _each(rows: Iterable[Row], words: Callable[[Row], str], value: str, aim: tuple[str, float]) -> list[tuple]:
    return [_target(words(row), [row[value]], *aim) for row in rows] or [_target(value, [], *aim)]


def _target(what: str, measured: Sequence[float], sign: str, aim: float) -> tuple[Cell, ...]:
    """Returns a row; `measured` has one number, or none if it was not measured."""
    if not measured:
        return what, None, f"{sign} {aim:g}", "not measured"
    value = measured[0]
    return what, value, f"{sign} {aim:g}", "yes" if (value >= aim if sign == ">=" else value <= aim) else "no"


def steps(found: Row) -> Table:
    """What was done, and what kept it from being done."""
    columns = (Column("step"), Column("status"), Column("seconds", digits=0), Column("at most", digits=0), Column(""))
    laid = [
        (
            name,
            "interrupted" if step["status"] == "running" else step["status"],
            step.get("seconds"),
            step.get("limit"),
            step.get("error", ""),
        )
        for name, step in found["steps"].items()
    ]
    return Table("steps", "Steps", columns, tuple(laid))


def corruptions(rows: Sequence[Row]) -> Table:
    """Speed of the corruptions."""
    columns = (
        Column("size"),
        Column("corruption"),
        Column("batch"),
        Column("images/s", digits=0),
        Column("memory allows", digits=0),
        Column("mean squared error", digits=1),
    )
    laid = [
        tuple(row[name] for name in ("size", "corruption", "batch_size", "images_per_second", "memory_limit", "mse"))
        for row in rows
    ]
    notes = tuple(
        f"{size} px: geometric mean {geometric_mean(rates):,.0f} images/s of {len(rates)} corruptions."
        for size in dict.fromkeys(row["size"] for row in rows)
        if (rates := [row["images_per_second"] for row in rows if row["size"] == size])
    )
    moved = tuple(f"A copy moves {row['bytes_per_second'] / 1e9:,.0f} GB/s, read and written." for row in rows[:1])
    return Table("corruptions", "Images per second under each corruption, severity 3", columns, (*laid,), notes + moved)


def sweeps(rows: Sequence[Row]) -> Table:
    """Share of the network in the time of a sweep."""
    columns = (
        Column("precision"),
        Column("network"),
        Column("images"),
        Column("batch"),
        Column("bare (s)", digits=2),
        Column("bare, free (s)", digits=2),
        Column("sweep (s)", digits=2),
        Column("bare / sweep", digits=3),
    )
    names = ("forward_seconds", "free_forward_seconds", "sweep_seconds", "efficiency")
    laid = _picked(rows, ("precision", "model", "images", "batch_size", *names))
    note = "Bare: as measurements are made, without TF32 and in one order; free: by the defaults of PyTorch."
    return Table("sweep", "Bare forward passes and whole sweeps", columns, tuple(laid), (note,))


def ratios(name: str, title: str, rows: Sequence[Row]) -> Table:
    """Ratios of `benchmarks/throughput.py`."""
    columns = (
        Column("precision"),
        Column("batch"),
        Column("quantity"),
        Column("of"),
        Column("over"),
        Column("ratio", digits=3),
        Column("images/s of", digits=0),
        Column("images/s over", digits=0),
    )
    laid = [
        (
            row["precision"],
            row["batch_size"],
            row["quantity"],
            row["numerator"],
            row["denominator"],
            Estimate(row["ratio"], row["lowest"], row["highest"]),
            row["numerator_rate"],
            row["denominator_rate"],
        )
        for row in rows
        if "ratio" in row
    ]
    return Table(name, title, columns, tuple(laid), ("In brackets: the lowest and the highest ratio of the pairs.",))


def memory(rows: Sequence[Row]) -> Table:
    """Peak memory of a training step."""
    columns = (Column("precision"), Column("batch"), Column("network"), Column("MiB", digits=0))
    laid = [
        (row["precision"], row["batch_size"], row["numerator"], _mebibytes(row["bytes"]))
        for row in rows
        if "bytes" in row
    ]
    return Table("memory", "Most memory of the tensors of a training step", columns, tuple(laid))


def trainings(rows: Sequence[Row]) -> Table:
    """The two trainings."""
    columns = (
        Column("network"),
        Column("epochs"),
        Column("seconds", digits=1),
        Column("images/s", digits=0),
        Column("MiB", digits=0),
        Column("clean accuracy (%)", percent=True),
    )
    laid = [
        (
            row["network"],
            row["epochs"],
            row["seconds"],
            row["images_per_second"],
            _mebibytes(row["bytes"]),
            _share(row),
        )
        for row in rows
    ]
    notes = tuple(f"{row['network']}: {row['training']['precision']}, {row['total']} test images." for row in rows)
    return Table("training", "Trainings on the JPEG copies of CIFAR-10, one cycle", columns, tuple(laid), notes)


def epochs(rows: Sequence[Row]) -> Table:
    """Speed of one epoch."""
    columns = (
        Column("network"),
        Column("precision"),
        Column("batch"),
        Column("images/s", digits=0),
        Column("done (%)", percent=True),
        Column("whole (s)", digits=1),
        Column("MiB", digits=0),
    )
    names = ("network", "precision", "batch_size", "images_per_second", "epoch_share", "epoch_seconds")
    laid = [(*cells, _mebibytes(row["bytes"])) for cells, row in zip(_picked(rows, names), rows, strict=True)]
    note = "The time of the whole epoch is that of the part that was done, extrapolated where this is not all."
    return Table(
        "epochs", "One epoch on the JPEG copies of CIFAR-10, each by its own recipe", columns, tuple(laid), (note,)
    )


def fits(rows: Sequence[Row]) -> Table:
    """Lines of the lambda fits."""
    columns = (Column("line"), *(Column(it, significant=4) for it in ("slope", "intercept", "R2")))
    laid = _picked([row for row in rows if "slope" in row], ("what", "slope", "intercept", "r2"))
    return Table("lambda-fits", "Lambda over the residual", columns, tuple(laid))


def times(rows: Sequence[Row]) -> Table:
    """How long it took to measure."""
    columns = (Column("network"), Column("what"), Column("records"), Column("seconds", digits=1))
    laid = _picked([row for row in rows if "records" in row], ("network", "what", "records", "seconds"))
    return Table("times", "Time of the measurements", columns, tuple(laid))


def fooling(rows: Sequence[Row]) -> Table:
    """Fooling rates of universal perturbations and of random ones."""
    columns = (
        Column("network"),
        Column("perturbation"),
        Column("metric"),
        Column("xi"),
        Column("rate (%)", percent=True),
        Column("seconds", digits=1),
    )
    laid = [
        (row["network"], row["perturbation"], row["metric"], row["epsilon"], _share(row), row["seconds"])
        for row in rows
    ]
    note = "Seconds: of all perturbations of a network."
    return Table("universal", "Universal perturbations in the maximum norm", columns, tuple(laid), (note,))


def tests(rows: Sequence[Row]) -> Table:
    """The tests that need a GPU."""
    return Table("tests", "Tests", (Column("test"), Column("outcome")), tuple(_picked(rows, ("test", "outcome"))))


def _picked(rows: Iterable[Row], names: Sequence[str]) -> list[tuple[Cell, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def _mebibytes(count: int | None) -> float | None:
    return None if count is None else count / MEBIBYTE


def _share(row: Row) -> Estimate:
    low, high = wilson_interval(row["met"], row["total"])
    return Estimate(row["met"] / row["total"], low, high, row["total"])


def markdown(found: Row, laid: Sequence[Table]) -> str:
    """The page: what was measured on, and all tables."""
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    lines = [
        f"# Measured on a GPU: {markdown_text(found['machine']['card'])}",
        "",
        f"Written by `python benchmarks/gpu_report.py` from what `benchmarks/gpu.sh` found. {markdown_text(machine)}.",
        "",
        "The tables of the paper have its own figures, from the original images, beside those measured here, on JPEG",
        "copies after a short training: they are not comparable one by one.",
    ]
    return "\n".join([*lines, "", *map(markdown_table, laid)])


def main() -> None:
    """Writes the tables."""
    parser = argparse.ArgumentParser(description="Tables of what benchmarks/gpu.sh found.")
    parser.add_argument("found", type=Path, metavar="FOLDER", help="what gpu.sh --out named")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder that gets the folder gpu-<card>")
    arguments = parser.parse_args()
    found = from_json((arguments.found / "gpu.json").read_bytes(), dict)
    records: list[Record] = []
    for path in sorted(arguments.found.glob("*.sqlite")):
        with ResultStore(path, read_only=True) as store:
            records += store.records()
    laid = tables(found, records)
    folder = arguments.output / re.sub("[^a-z0-9]+", "-", f"gpu {found['machine']['card']}".lower())
    folder.mkdir(parents=True, exist_ok=True)
    for table in laid:
        write_whole(folder / f"{table.name}.csv", csv_text(table).encode())
    write_whole(folder / "records.csv", records_csv(records, timing=False).encode())
    write_whole(folder / "README.md", markdown(found, laid).encode())
    print(folder)


if __name__ == "__main__":
    main()
