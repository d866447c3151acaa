"""`robustcsc compare`, on results that were written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from robustcsc import runs
from robustcsc.measurements.facts import replace
from robustcsc.measurements.records import Outcomes
from robustcsc.measurements.store import ResultStore
from tests.cli.conftest import record_by_hand

Command = Callable[..., Any]


def store_run(name: str, correct: int, *, kept: bool = True) -> None:
    record = record_by_hand(name, correct, 100, name=name)
    kept_outcomes = Outcomes.of([at < correct for at in range(100)]) if kept else None
    with ResultStore(runs.create(name).store_path) as store:
        store.add(replace(record, outcomes=kept_outcomes))


def test_the_paired_verdict_alone(place: object, robustcsc: Command) -> None:
    store_run("good", 70)
    store_run("better", 90)
    done = robustcsc("compare good better")
    # 20 of 100 images differ: (20 -+ 1.96 sqrt(21 - 400 / 102)) / 102
    assert done.out.startswith(
        "On clean images the accuracy of better is 20.0 points higher than that of good ([11.7, 27.5], p < 0.001)."
    )
    verdict, _, table = done.out.partition("\n\n")
    assert verdict.endswith(".") and table
    (told,) = json.loads(robustcsc("compare good better --json").out)
    (difference,) = told["differences"]
    assert (difference["first"]["runs"], difference["points"]) == (["better"], 20.0)


def test_what_cannot_be_compared_is_refused_in_a_sentence(place: object, robustcsc: Command) -> None:
    store_run("good", 70)
    store_run("counts", 80, kept=False)
    runs.create("empty")
    for typed, sentence in {
        "compare good": "A comparison needs two runs at least",
        "compare good good": "A comparison needs two runs at least",
        "compare good empty": "Run 'empty' has no results to compare yet: measure some with `robustcsc sweep --run",
        "compare good nowhere": "No run 'nowhere' in runs",
        "compare good counts": "Which images the runs good and counts are right on was not kept",
    }.items():
        done = robustcsc(typed)
        assert (done.code, done.out) == (2, "") and sentence in done.err


def test_comparing_imports_no_torch() -> None:
    code = "import sys\nfrom robustcsc.session.comparing import compare\nprint('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
