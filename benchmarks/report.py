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

from robustcsc.measurements.corruption_errors import STANDARD_CORRUPTIONS
from robustcsc.records import Condition, Record, packed
from robustcsc.report import write_report
from robustcsc.measurements.store import COLUMNS, ResultStore

POLICIES = ("train", "adaptive", "adaptive-image", "oracle", *(f"fixed={0.1 * at:.1f}" for at in range(1, 16)))
NAMES = (*STANDARD_CORRUPTIONS, "speckle_noise", "gaussian_blur", "spatter", "saturate")
TOTAL, ATTACKED = 10_000, 1_000
PROTOCOLS = (("plain", "train"), ("static", "adaptive"), ("adaptive", "adaptive"))


def made_up(runs: int) -> Iterator[Record]:
    """Yields the records of every run."""
    for run in range(runs):
        about = {"run": f"run{run}", "model": "sdnet18", "weights": f"{run:064x}", "dataset": "cifar10"}
        about |= {"split": "test", "images": "0123456789abcdef"}
        for policy in POLICIES:
            yield record(Condition(**about, kind="clean", name="clean", policy=policy), 9000 - 7 * run)
            corrupted = {**about, "kind": "corruption", "policy": policy, "source": "generated", "spec": "c@1a2b3c4d"}
            for name in NAMES:
                for severity in range(1, 6):
                    condition = Condition(**corrupted, name=name, severity=severity)
                    yield record(condition, 9000 - (7 * run + 300 * severity) % 9000)
        for protocol, policy in PROTOCOLS:
            for norm, epsilon in (("linf", 8 / 255), ("l2", 0.5)):
                how = {"norm": norm, "epsilon": epsilon, "steps": 20, "restarts": 1, "protocol": protocol}
                condition = Condition(**about, **how, kind="attack", name="pgd", policy=policy)
                outcomes = packed([at % 1000 < 300 + run for at in range(ATTACKED)])
                yield record(condition, 300 + run, ATTACKED, outcomes)


def record(condition: Condition, correct: int, total: int = TOTAL, outcomes: str = "") -> Record:
    """Returns a record of a condition with these counts."""
    return Record(
        condition=condition,
        correct=correct,
        total=total,
        lam=0.1,
        device="cpu",
        versions="none",
        seconds=1.0,
        created="2026-01-02T03:04:05+00:00",
        outcomes=outcomes,
    )


def fill(path: Path, records: Iterator[Record]) -> int:
    """Writes records to a new store in one transaction, which takes seconds, and returns their number."""
    ResultStore(path).close()
    names = ("key", *COLUMNS)
    statement = f"INSERT INTO records ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
    with sqlite3.connect(path) as connection:
        count = connection.executemany(statement, ({"key": it.condition.key, **it.row()} for it in records)).rowcount
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
        paths = write_report(records, [], Path(folder) / "report", title="Many")
        written = time.process_time()
        profiler.disable()
        size = paths.page.stat().st_size
    told = {"records": count, "read": round(read - started, 2), "report": round(written - read, 2), "page": size}
    print(json.dumps(told))
    if asked.profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(asked.profile)


if __name__ == "__main__":
    main()
