"""What helps at test time without training: every policy over all corruptions, for a ResNet-20 and an SDNet-20.

    python benchmarks/test_time.py --root FOLDER                  # everything, on 2,000 images
    python benchmarks/test_time.py --root FOLDER --limit 10000 --stages 0 1
    python benchmarks/test_time.py --root FOLDER --stages         # only the tables of what is there

Measures the shipped CIFAR models under 19 corruptions at five severities in stages, the most telling ones first, and
keeps every cell in the runs of the working directory: an interrupted benchmark goes on where it was. The table has the
accuracy on clean images, the mean over the 15 standard corruptions, mCE (the baseline is ResNet-20 as it is), and the
worst and best change of a corruption against the same model as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from rows import RESULTS, write_csv

import robustcsc as rc
from robustcsc.data import load
from robustcsc.data.splits import evenly_spaced
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import Clean, Corruption
from robustcsc.measurements.records import Record
from robustcsc.measurements.store import ResultStore
from robustcsc.reports.cohorts.settings import without_fit
from robustcsc.reports.cohorts.words import policy_words

RESNET, SDNET = "resnet20-cifar10-jpeg", "sdnet20-cifar10-jpeg"
#: Lambdas that stand for one per condition: an adaptive policy would need a fit.
LAMBDAS = ("train", "oracle")
#: Model, lambda policies, adaptations.
STAGES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (RESNET, (), ("none", "bn")),
    (SDNET, ("train",), ("none", "bn")),
    (RESNET, (), ("bn:prior=250", "bn:prior=250:gate=0.08")),
    (SDNET, ("train",), ("bn:prior=250", "bn:prior=250:gate=0.08")),
    (RESNET, (), ("bn:prior=64", "bn:batch=16", "bn:batch=16:prior=64")),
    (SDNET, ("train",), ("bn:prior=64", "bn:batch=16", "bn:batch=16:prior=64")),
    (RESNET, (), ("bn:order=class", "bn:prior=64:order=class", "bn:batch=1", "bn:batch=1:prior=16")),
    (SDNET, ("train",), ("bn:order=class", "bn:prior=64:order=class", "bn:batch=1", "bn:batch=1:prior=16")),
    (RESNET, (), ("denoise-wavelet", "denoise-tv", "denoise-nlm")),
    (SDNET, ("train",), ("denoise-wavelet", "denoise-tv", "denoise-nlm")),
    (RESNET, (), ("tent", "tent:order=class", "tent:batch=16")),
    (SDNET, ("train",), ("tent", "tent:order=class", "tent:batch=16")),
    (SDNET, ("oracle",), ("none", "bn")),
)
_MEANS = ("clean", "mean of 15", "error of 15", "mCE", "worst change", "best change")
FIELDS = ("run", "policy", "images", "cells", *_MEANS)
CELLS = ("run", "policy", "images", "corruption", "severity", "accuracy")

Cells = Mapping[tuple[str, int], float]


def measure(root: Path, limit: int, stage: int) -> None:
    """Measures one stage; what the runs have is not measured again."""
    name, policies, adaptations = STAGES[stage]
    how = rc.Measuring(test_time=adaptations, note=print)
    images = evenly_spaced(load("imagefolder", root=root, split="test"), limit)
    session = rc.open(name, data=rc.DataChoice("imagefolder", root), measuring=how)
    print(f"stage {stage}: {name}, {', '.join(adaptations)}", flush=True)
    session.sweep(images, policies=policies)


def cells_of(records: list[Record]) -> dict[tuple[str, str, int], Cells]:
    """Returns the accuracies by run, policy in words and number of images."""
    found: dict[tuple[str, str, int], dict[tuple[str, int], float]] = {}
    for record in records:
        it = record.measurement
        if isinstance(it.perturbation, Clean | Corruption):
            made = it.perturbation
            place = (made.name, made.severity) if isinstance(made, Corruption) else ("clean", 0)
            key = (it.subject.run, policy_words(without_fit(it.policy)), record.total)
            found.setdefault(key, {})[place] = record.met / record.total
    return found


def rows_of(found: Mapping[tuple[str, str, int], Cells]) -> list[dict[str, object]]:
    """Returns the rows of the table; what was not measured whole has no mean."""
    rows = []
    for (run, policy, images), cells in found.items():
        plain = found.get((run, "no lambda" if run == RESNET else "training lambda", images), {})
        baseline = found.get((RESNET, "no lambda", images), {})
        means = {name: _mean(cells, name) for name in dict.fromkeys(name for name, _ in cells) if name != "clean"}
        row: dict[str, object] = {"run": run, "policy": policy, "images": images, "cells": len(cells)}
        row["clean"] = f"{100 * cells['clean', 0]:.2f}" if ("clean", 0) in cells else ""
        if set(STANDARD_CORRUPTIONS) <= {name for name, mean in means.items() if mean is not None}:
            mean = fmean(means[name] or 0.0 for name in STANDARD_CORRUPTIONS)
            row |= {"mean of 15": f"{100 * mean:.2f}", "error of 15": f"{100 * (1 - mean):.2f}"}
            ratios = [
                (1 - (means[name] or 0)) / (1 - base)
                for name in STANDARD_CORRUPTIONS
                if (base := _mean(baseline, name)) is not None
            ]
            row["mCE"] = f"{100 * fmean(ratios):.1f}" if len(ratios) == len(STANDARD_CORRUPTIONS) else ""
        changes = {
            name: 100 * (mean - base)
            for name, mean in means.items()
            if mean is not None and (base := _mean(plain, name)) is not None
        }
        if changes:
            for heading, choose in (("worst change", min), ("best change", max)):
                name = choose(changes, key=lambda it: changes[it])
                row[heading] = f"{changes[name]:+.1f} ({name})"
        rows.append(row)
    return rows


def _mean(cells: Cells, name: str) -> float | None:
    """Returns the mean over the five severities of a corruption, if all were measured."""
    found = [cells[name, severity] for severity in range(1, 6) if (name, severity) in cells]
    return fmean(found) if len(found) == 5 else None


def main() -> None:
    """Measures the stages and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--stages", type=int, nargs="*", default=list(range(len(STAGES))))
    asked = parser.parse_args()
    for stage in asked.stages:
        measure(asked.root, asked.limit, stage)
    records: list[Record] = []
    for name in (RESNET, SDNET):
        with ResultStore(rc.open(name).run.store_path, read_only=True) as store:
            records += store.records()
    found = cells_of(records)
    rows = rows_of(found)
    write_csv(RESULTS / "test-time.csv", rows, FIELDS)
    cells = [
        {"run": run, "policy": policy, "images": images, "corruption": name, "severity": severity, "accuracy": accuracy}
        for (run, policy, images), its in found.items()
        for (name, severity), accuracy in its.items()
    ]
    write_csv(RESULTS / "test-time-cells.csv", cells, CELLS)
    for row in rows:
        print(", ".join(f"{name} {row.get(name, '')}" for name in FIELDS))


if __name__ == "__main__":
    main()
