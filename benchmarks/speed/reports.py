"""`robustcsc report` of a few records and of many: CPU seconds, and the memory that many take."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from row import Row, Timing

from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Perturbation, SeverityTable
from robustcsc.measurements.policies import Adaptive, FixedLambda, Oracle, Policy, Scope, TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Images, Measurement, Outcomes, Record, Subject
from robustcsc.measurements.store import COLUMNS, ResultStore, row_of
from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel

RUNS = 110
ADAPTIVE = Adaptive(scope=Scope.DATASET)
POLICIES: tuple[Policy, ...] = (
    *(TrainingLambda(), ADAPTIVE, Adaptive(scope=Scope.IMAGE), Oracle()),
    *(FixedLambda(round(0.1 * at, 1)) for at in range(1, 16)),
)
NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
NAMES = (*STANDARD_CORRUPTIONS, "speckle_noise", "gaussian_blur", "spatter", "saturate")
TABLE = SeverityTable(name="c", digest="1a2b3c4d")
TOTAL, ATTACKED = 10_000, 1_000
PROTOCOLS = ((Protocol.PLAIN, TrainingLambda()), (Protocol.STATIC, ADAPTIVE), (Protocol.ADAPTIVE, ADAPTIVE))
THREATS = tuple(ThreatModel(norm, epsilon) for norm, epsilon in DEFAULT_EPSILON.items())
PROVENANCE = Provenance(device="cpu", versions={}, seconds=1.0, created="2026-01-02T03:04:05+00:00")
COPY = "import sys, pandas; pandas.read_csv(sys.argv[1], low_memory=False).to_csv(sys.argv[2], index=False)"


def rows() -> list[Row]:
    """Returns a row for a report of five records, and the CPU and the memory of one of many."""
    with tempfile.TemporaryDirectory() as place:
        runs = Path(place) / "runs"
        few, many = fill(runs / "few", five()), fill(runs / "many", swept_and_attacked(RUNS))
        spent(place, "-c", "import pandas")  # compiles it
        copied = str(runs / "many/reports/records.csv"), str(Path(place) / "copy.csv")
        pairs = {
            "few": [(spent(place, *report("few")), spent(place, "-c", "import torch")) for _ in range(6)][1:],
            "many": [(spent(place, *report("many")), spent(place, "-c", COPY, *copied)) for _ in range(2)],
        }
    (seconds, memory), (of_few, _) = map(timings, (pairs["many"], pairs["few"]))
    peer = "pandas reads and writes its records.csv"
    held = median(memory.ours), median(memory.other), median(memory.ratios)
    return [
        Row.timed("reports", f"report, {few} records", "import torch", of_few, 0.75, note="aim: 1.5 s of CPU"),
        Row.timed("reports", f"report, {many:,} records", peer, seconds, None, note="aim: 8 s of CPU"),
        Row(
            *("reports", f"peak memory of report, {many:,} records", peer, "MiB", *held),
            *(min(memory.ratios), max(memory.ratios), None, "aim: 500 MiB"),
        ),
    ]


def report(run: str) -> tuple[str, ...]:
    """Returns the command as Python gets it."""
    return ("-m", "robustcsc.cli.main", "report", run)


def spent(place: str, *line: str) -> tuple[float, float]:
    """Runs Python with these words, and returns the CPU seconds and the MiB that it took."""
    env = os.environ | {"PYTHONPYCACHEPREFIX": f"{place}/compiled"}  # as an installed package is
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        [sys.executable, *line], cwd=place, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"python {' '.join(line)} failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def timings(pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> tuple[Timing, Timing]:
    """Returns the seconds and the memory of pairs that ran in turn."""
    seconds, memory = (
        Timing(tuple(ours[at] for ours, _ in pairs), tuple(other[at] for _, other in pairs)) for at in (0, 1)
    )
    return seconds, memory


def five() -> Iterator[Record]:
    """Yields what one model gave on clean images and under four noises."""
    subject = Subject(run="few", model="sdnet18", weights=f"{0:064x}")
    yield record(subject, Clean(), POLICIES[0], 9000)
    yield from (record(subject, Corruption(name=it, severity=3, table=TABLE), POLICIES[0], 7000) for it in NOISES)


def swept_and_attacked(runs: int) -> Iterator[Record]:
    """Yields 1,830 records a run: all 19 corruptions with 19 lambda policies, and attacks under three protocols."""
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


def fill(run: Path, records: Iterator[Record]) -> int:
    """Writes records to the store of a run in one transaction, which takes seconds, and returns their number."""
    ResultStore(run / "results.sqlite").close()
    statement = f"INSERT INTO records ({', '.join(COLUMNS)}) VALUES ({', '.join(f':{name}' for name in COLUMNS)})"
    with sqlite3.connect(run / "results.sqlite") as connection:
        count = connection.executemany(statement, map(row_of, records)).rowcount
    connection.close()
    return count
