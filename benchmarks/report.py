"""What a large report costs: CPU seconds for reading a store, making the tables and figures, and writing the page.

    python benchmarks/report.py
    python benchmarks/report.py --runs 20 --profile 30

Makes a store of the given number of runs with made-up counts: every run is swept over all 19 corruptions with 19 lambda
policies, and attacked under three protocols. Times are those of this process alone (`time.process_time`), so that other
work on the machine does not enter them. Aim: 200,000 records in 20 seconds.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Perturbation, SeverityTable
from robustcsc.measurements.policies import Adaptive, FixedLambda, Oracle, Policy, Scope, TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Images, Measurement, Outcomes, Provenance, Record, Subject
from robustcsc.measurements.store import COLUMNS, ResultStore, row_of
from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel
from robustcsc.reports.page.build import write_report
from robustcsc.reports.page.sections import Report

ADAPTIVE = Adaptive(scope=Scope.DATASET)
POLICIES: tuple[Policy, ...] = (
    *(TrainingLambda(), ADAPTIVE, Adaptive(scope=Scope.IMAGE), Oracle()),
    *(FixedLambda(round(0.1 * at, 1)) for at in range(1, 16)),
)
NAMES = (*STANDARD_CORRUPTIONS, "speckle_noise", "gaussian_blur", "spatter", "saturate")
TABLE = SeverityTable(name="c", digest="1a2b3c4d")
TOTAL, ATTACKED = 10_000, 1_000
PROTOCOLS = ((Protocol.PLAIN, TrainingLambda()), (Protocol.STATIC, ADAPTIVE), (Protocol.ADAPTIVE, ADAPTIVE))
THREATS = tuple(ThreatModel(norm, epsilon) for norm, epsilon in DEFAULT_EPSILON.items())
PROVENANCE = Provenance(device="cpu", versions={}, seconds=1.0, created="2026-01-02T03:04:05+00:00")


def made_up(runs: int) -> Iterator[Record]:
    """Yields the records of every run."""
    for run in range(runs):
        subject = Subject(run=f"run{run}", model="sdnet18", weights=f"{run:064x}")
        for policy in POLICIES:
            yield record(subject, Clean(), policy, 9000 - 7 * run)
            for name in NAMES:
                for severity in range(1, 6):
                    made = Corruption(name=name, severity=severity, table=TABLE)
                    yield record(subject, made, policy, 9000 - (7 * run + 300 * severity) % 9000)
        for protocol, policy in PROTOCOLS:
            for threat in THREATS:
                attack = Attack(steps=(AttackStep.of("pgd"),), threat=threat, protocol=protocol)
                outcomes = Outcomes.of([at % 1000 < 300 + run for at in range(ATTACKED)])
                yield record(subject, attack, policy, 300 + run, outcomes)


def record(subject: Subject, made: Perturbation, policy: Policy, met: int, outcomes: Outcomes | None = None) -> Record:
    """Returns a record with these counts."""
    total = outcomes.count if outcomes else TOTAL
    images = Images(dataset="cifar10", split="test", fingerprint="0123456789abcdef", count=total)
    measurement = Measurement(subject=subject, images=images, perturbation=made, policy=policy)
    return Record(measurement=measurement, met=met, total=total, lam=0.1, provenance=PROVENANCE, outcomes=outcomes)


def fill(path: Path, records: Iterator[Record]) -> int:
    """Writes records to a new store in one transaction, which takes seconds, and returns their number."""
    ResultStore(path).close()
    statement = f"INSERT INTO records ({', '.join(COLUMNS)}) VALUES ({', '.join(f':{name}' for name in COLUMNS)})"
    with sqlite3.connect(path) as connection:
        count = connection.executemany(statement, map(row_of, records)).rowcount
    connection.close()
    return count


def main() -> None:
    """Makes the store, reads it, writes the report and prints what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=110, help="runs; each has 1,830 records")
    parser.add_argument("--profile", type=int, default=0, metavar="N", help="print the N functions that took longest")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        count = fill(path, made_up(asked.runs))
        profiler = cProfile.Profile()
        if asked.profile:
            profiler.enable()
        started = time.process_time()
        with ResultStore(path, read_only=True) as store:
            records = store.records()
        read = time.process_time()
        paths = write_report(Report(title="Many", records=records), Path(folder) / "report")
        written = time.process_time()
        profiler.disable()
        size = paths.page.stat().st_size
    told = {"records": count, "read": round(read - started, 2), "report": round(written - read, 2), "page": size}
    print(json.dumps(told))
    if asked.profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(asked.profile)


if __name__ == "__main__":
    main()
