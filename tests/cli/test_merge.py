"""`robustcsc merge`, on results that were written by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustcsc import runs
from robustcsc.measurements.perturbations import RandomNoise
from robustcsc.measurements.store import ResultStore
from tests.cli.conftest import record_by_hand

Command = Callable[..., Any]


def test_what_was_merged_is_told(robustcsc: Command, place: Path) -> None:
    for name, rho in (("a", 0.1), ("b", 0.2)):
        with ResultStore(runs.create(name).store_path) as store:
            store.add(record_by_hand("sdnet", 900, name="a"))
            store.add(record_by_hand("sdnet", 800, name="a", perturbation=RandomNoise(rho=rho)))
    done = robustcsc("merge a b --into all")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "runs/all has 3 records, 3 of them new.",
        "1 record repeats an earlier one, with the same counts; the earlier one stays.",
    ]
    assert len((place / "runs/all/results.csv").read_text().splitlines()) == 1 + 3
    told = json.loads(robustcsc("merge runs/a --into all --json").out)
    assert told == {"run": "runs/all", "records": 3, "added": 0, "repeated": 2}
