"""What is to be measured, before it is."""

from __future__ import annotations

from collections.abc import Iterable

from robustcsc.measurements.passes import GradientChecking, LambdaFitting, Passes, Piece, Plan
from robustcsc.measurements.perturbations import (
    Attack,
    Clean,
    Corruption,
    MinimalBudget,
    RandomControl,
    RandomNoise,
    Universal,
)
from robustcsc.presentation.table import Cell, Column, Table, Worded
from robustcsc.presentation.words import duration_words
from robustcsc.reports.cohorts.words import norm_words

_COLUMNS = ("work", "cells", "records", "stored", "images", "forward", "residual", "gradient")
_BOUND = (
    "\N{LESS-THAN OR EQUAL TO} is at most: attacks are done with images that they have broken, searches may end early."
)
_RESIDUAL = "The residual, for an adaptive lambda, is a pass up to the last layer with a lambda."


def plan_table(plan: Plan) -> Table:
    """Returns the passes of a plan by the kind of work, and in its notes about how long it takes."""
    groups: dict[str, list[Piece]] = {}
    for piece in plan.pieces:
        groups.setdefault(_work_words(piece), []).append(piece)
    rows = [_row(words, pieces) for words, pieces in groups.items()]
    if len(rows) > 1:
        rows.append(_row("all", plan.pieces))
    asked = plan.passes
    notes = ["" if asked.exact else _BOUND, _RESIDUAL if asked.residual else "", timing_words(plan)]
    table = Table(
        name="plan",
        title="What is to be measured",
        columns=tuple(map(Column, _COLUMNS)),
        rows=tuple(rows),
        notes=tuple(filter(None, notes)),
    )
    shown = {"residual": bool(asked.residual), "gradient": bool(asked.gradient)}
    return table.keep(lambda column: shown.get(column.heading, True))


def timing_words(plan: Plan) -> str:
    """Returns about how long a plan takes, and on what that was timed."""
    timing = plan.timing
    if timing is None:
        return "Nothing is left to measure." if not plan.missing else ""
    first, last = duration_words(timing.fastest), duration_words(timing.slowest)
    number, unit = first.split(" ")
    between = first if first == last else f"{number if last.endswith(unit) else first} to {last}"
    about = "About" if plan.passes.exact else "At most about"
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    who = f"in one process with {threads} on {timing.device}"
    if timing.workers > 1:
        who = f"if {timing.workers} workers with {threads} each on {timing.device} share the work as evenly as they can"
    timed = f"as timed on batches of {timing.images} of the images"
    start = f"with {timing.starting:.0f} s for their start" if timing.starting else "without the start of the program"
    return f"{about} {between} {who}, {timed}, {start}."


def _row(words: str, pieces: Iterable[Piece]) -> tuple[Cell, ...]:
    pieces = list(pieces)
    left = [it for it in pieces if it.passes.total and not isinstance(it.what, GradientChecking)]
    asked = sum((it.passes for it in pieces), Passes())
    counts = (asked.forward, asked.residual, asked.gradient)
    return (
        words,
        len(left) or None,
        sum(it.missing for it in pieces),
        sum(it.stored for it in pieces),
        sum(it.images for it in left) or None,
        *(it if asked.exact or not it else Worded(it, f"\N{LESS-THAN OR EQUAL TO} {it}") for it in counts),
    )


def _work_words(piece: Piece) -> str:
    match piece.what:
        case Clean():
            return "clean images"
        case Corruption():
            return "corruptions"
        case LambdaFitting():
            return "lambda fits"
        case GradientChecking():
            return "checks of gradients"
        case Attack(saved=None, steps=(*_, step), threat=threat):
            return f"{step.kind.words} {norm_words(threat.norm)}"
        case Attack():
            return "saved adversarial images"
        case MinimalBudget(step=step, threat=threat):
            return f"smallest budgets, {step.kind.words} {norm_words(threat.norm)}"
        case Universal(threat=threat):
            return f"UAP {norm_words(threat.norm)}"
        case RandomControl():
            return "random controls"
        case RandomNoise():
            return "random noise"
