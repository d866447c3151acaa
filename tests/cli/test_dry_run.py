"""`--dry-run`: what would be measured, and nothing is written."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Command = Callable[..., Any]
SWEEP = "sweep --run sdnet-digits --limit 10 --corruptions fog --severities 1,3"


@pytest.mark.parametrize(
    ("typed", "work"),
    [
        (SWEEP, ["clean images", "corruptions", "all"]),
        (
            "attack --run sdnet-digits --limit 10 --pgd linf --save found.safetensors --protocols plain",
            ["clean images", "checks of gradients", "PGD L∞", "all"],
        ),
        ("fit-lambda --run sdnet-digits --limit 10 --noise shot,blind", ["lambda fits"]),
        ("uap --run sdnet-digits --limit 10 --crafting-images 10", ["UAP L∞", "random controls", "all"]),
        ("random-noise --run sdnet-digits --limit 10", ["random noise"]),
    ],
)
def test_a_dry_run_shows_the_work_and_writes_nothing(
    robustcsc: Command, contents: Callable[[], dict[str, bytes | None]], typed: str, work: list[str]
) -> None:
    before = contents()
    shown = robustcsc(f"{typed} --dry-run")
    assert shown.code == 0
    rows = [line.split("  ")[0] for line in shown.out.partition("----\n")[2].split("\n\n")[0].splitlines()]
    assert rows == work
    assert max(map(len, shown.out.splitlines())) <= 120 and "bout " in shown.out
    assert contents() == before


def test_a_dry_run_knows_what_is_stored(robustcsc: Command, contents: Callable[[], dict[str, bytes | None]]) -> None:
    told = json.loads(robustcsc(f"{SWEEP} --dry-run --json").out)
    assert (told["missing"], told["stored"], told["passes"]["forward"]) == (3, 0, 30)
    assert 0 < told["timing"]["fastest"] <= told["timing"]["slowest"]
    assert robustcsc(SWEEP).code == 0
    before = contents()
    told = json.loads(robustcsc(f"{SWEEP} --lambda train,fixed=0.2 --dry-run --json").out)
    assert (told["missing"], told["stored"], told["passes"]["forward"]) == (3, 3, 30)
    assert robustcsc(f"{SWEEP} --dry-run").out.rstrip().endswith("Nothing is left to measure.")
    assert contents() == before


def test_a_dry_run_counts_on_workers_and_says_so(robustcsc: Command) -> None:
    typed = f"{SWEEP} --lambda oracle --dry-run --threads 2"
    one = json.loads(robustcsc(f"{typed} --json").out)["timing"]
    assert "workers" not in one
    shown = robustcsc(f"{typed} --workers 3")
    words = " ".join(shown.out.split())
    assert "if 3 workers with 1 thread each on " in words
    assert words.endswith("with 3 s for their start.")
    assert "Taking" not in shown.err
    timed = json.loads(robustcsc(f"{typed} --workers 3 --json").out)["timing"]
    assert (timed["workers"], timed["starting"]) == (3, 3.0) and timed["fastest"] > 3.0
