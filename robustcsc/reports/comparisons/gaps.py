"""What a ranking lacks, and the command that measures it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robustcsc.measurements.adaptations import NONE
from robustcsc.measurements.commands import Command, Value, command_of
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import Attack, Clean, Corruption
from robustcsc.measurements.policies import typed_policy, typed_test_time
from robustcsc.measurements.records import Record
from robustcsc.measurements.threats import typed_epsilon
from robustcsc.reports.cohorts.cohorts import SEVERITIES
from robustcsc.reports.cohorts.words import NOISES
from robustcsc.reports.comparisons.board import Board, By, Entry, never_attacked
from robustcsc.reports.comparisons.groups import Group
from robustcsc.reports.verdict.facts import Condition, Kind

_NOWHERE: Mapping[By, tuple[str, Command]] = {
    "clean": ("clean images", Command("evaluate", {})),
    "noise": ("noises", Command("sweep", {"--corruptions": "noise"})),
    "corruptions": ("standard corruptions", Command("sweep", {"--corruptions": "standard"})),
    "robust": ("attacks", Command("attack", {"--pgd": "linf"})),
}
"""What rows are to be ranked by where nobody has it, and what measures it."""
_MODEL = ("--run", "--model", "--precision")
_OTHER = (*_MODEL, "--data", "--root", "--batch-size", "--corruptions", "--severities", "--lambda")
"""Options of another row's command that say nothing about a column."""


@dataclass(frozen=True)
class Gap:
    """A column that some rows lack.

    Attributes:
        column: Its heading.
        runs: The runs that lack it.
        command: What measures it for the first of them.
    """

    column: str
    runs: tuple[str, ...]
    command: Command

    def __str__(self) -> str:
        which = "it" if len(self.runs) == 1 else "the first"
        return f"Missing in {self.column!r}: {', '.join(self.runs)}. Measure {which} with\n  {self.typed}"

    @property
    def typed(self) -> str:
        """The command as it is typed."""
        return " ".join(["robustcsc", *self.command.words])

    def told(self) -> dict[str, object]:
        """Returns the gap in types that `json` writes."""
        return {"column": self.column, "runs": list(self.runs), "command": self.typed}


def gaps(board: Board) -> list[Gap]:
    """Returns what rows of a ranking lack, first what it should be ranked by, with a command for each column."""
    found = []
    if board.column is None:
        what, command = _NOWHERE[board.by]
        runs = dict.fromkeys(run for it in board.entries for run in it.group.runs)
        own = _model(board.entries[0].group)
        found.append(Gap(what, tuple(runs), Command(command.name, own | command.options)))
    lacking = {it: [row for row in board.entries if _lacks(row, it)] for it in board.conditions}
    for condition in sorted(filter(lacking.get, lacking), key=lambda it: it != board.column):
        if condition == board.column or not _measured_by_the_way(condition, lacking):
            runs = dict.fromkeys(run for row in lacking[condition] for run in row.group.runs)
            command = _command(board, condition, lacking[condition])
            found.append(Gap(board.heading(condition), tuple(runs), command))
    return found


def _lacks(row: Entry, condition: Condition) -> bool:
    """Whether a row lacks a column that can be measured."""
    return condition not in row.results and not (condition.kind is Kind.ATTACK and never_attacked(row.policy))


def _measured_by_the_way(condition: Condition, lacking: Mapping[Condition, list[Entry]]) -> bool:
    """Whether rows lack more corruptions, too: a sweep of these measures fewer of them, and the clean images."""
    names, rows = set(condition.names), lacking[condition]
    more = (it for it in lacking if condition.threat is None and names < set(it.names))
    return any(all(row in lacking[it] for row in rows) for it in more)


def _command(board: Board, condition: Condition, lacking: list[Entry]) -> Command:
    """Returns what measures a column for the first row that lacks it, on the images of one that has it."""
    group = lacking[0].group
    policies = [it.policy for it in lacking if it.group is group]
    words = [word for it in policies if (word := typed_policy(it))]
    lambdas: dict[str, Value] = {"--lambda": tuple(dict.fromkeys(words))} if words else {}
    if any(map(typed_test_time, policies)):
        lambdas["--test-time"] = tuple(dict.fromkeys(typed_test_time(it) or NONE for it in policies))
    other = next(it for it in board.entries if condition in it.results)
    about = command_of(_record(other.group, condition, other.results[condition].images)).options
    about = {option: value for option, value in about.items() if option not in _OTHER}
    own = _model(group)
    if condition.kind is Kind.CLEAN:
        return Command("evaluate", own | about | lambdas)
    if condition.threat:
        about = {option: about[option] for option in ("--limit", "--seed") if option in about}
        attack = {"--pgd": condition.threat.norm, "--epsilon": typed_epsilon(condition.threat.epsilon)}
        return Command("attack", own | attack | about)
    severities = tuple(sorted({it for each in condition.severities for it in each}))
    how: dict[str, Value] = {"--corruptions": _typed_names(condition.names)}
    how |= {} if severities == SEVERITIES else {"--severities": severities}
    return Command("sweep", own | about | how | lambdas)


def _model(group: Group) -> dict[str, Value]:
    """Returns the options that name a model."""
    series = next(iter(group.seeds[0].values()))[0]
    options = command_of(next(iter(series.values()))).options
    return {option: options[option] for option in _MODEL if option in options}


def _record(group: Group, condition: Condition, images: int) -> Record:
    """Returns a record of a column."""
    kind = Corruption if condition.names else Attack if condition.threat else Clean
    return next(
        record
        for seed in group.seeds
        for measure, several in seed.items()
        if isinstance(measure.setting, kind) and measure.cohort.total == images
        for series in several
        for record in series.values()
    )


def _typed_names(names: tuple[str, ...]) -> Value:
    return "standard" if names == STANDARD_CORRUPTIONS else "noise" if set(names) == set(NOISES) else names
