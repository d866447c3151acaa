"""Commands that measure the records of a report again, put together from what the records say."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set

from robustcsc.records import MINIMAL, THEN, Condition, Record
from robustcsc.report.table import Table
from robustcsc.report.words import corruption_rank, epsilon_words, policy_rank, protocol_rank, severities_words

_NOTES = (
    "Put together from the records: each command measures at least the records it stands for, those that are there "
    "already excepted. Where the images lie (--data, --root) and how many of them are used (--limit) is added by hand, "
    "as it was when they were measured.",
)

_ATTACKS = ("attack", MINIMAL)
Group = Sequence[Condition]


def command_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table with a row per command; empty where no record can be made by one."""
    chains: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.condition.kind in _ATTACKS:
            chains[record.condition.run].add(record.condition.name)
    groups: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[_shared(record, chains[record.condition.run])].append(record)
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for key in sorted(groups, key=lambda key: tuple(map(str, key))):
        group = groups[key]
        first = group[0].condition
        if first.kind in _COMMANDS:
            words = _COMMANDS[first.kind]([record.condition for record in group])
            counts[(first.run, str(group[0].total), shlex.join(["robustcsc", *words]))] += len(group)
    if not counts:
        return []
    cells = tuple((run, n, str(count), command) for (run, n, command), count in counts.items())
    title = "Commands that measure the same again"
    return [Table("commands", title, ("run", "n", "records", "command"), cells, _NOTES)]


def _shared(record: Record, chains: Set[str]) -> tuple[object, ...]:
    """Returns what records of one command share."""
    it = record.condition
    how: tuple[object, ...] = ()
    if it.kind in _ATTACKS:
        # Attacks in a row leave a record after each: they belong to the whole row.
        whole = max((name for name in chains if f"{name}{THEN}".startswith(f"{it.name}{THEN}")), key=_length)
        how = (whole, (it.steps, it.restarts) if THEN not in whole else (), it.seed, it.batch_size)
    elif it.kind == "uap":
        how = (it.spec, it.steps)
    elif it.kind == "corruption":
        how = (it.spec, it.source, it.seed)
    images = "" if it.source == "official" else it.images
    return (it.run, it.kind, it.dataset, images, record.total, it.norm, *how)


def _length(name: str) -> tuple[int, str]:
    return (len(name), name)


def _clean(group: Group) -> list[str]:
    return ["evaluate", *_run(group), *_policies(group)]


def _sweep(group: Group) -> list[str]:
    first = group[0]
    names = _each(group, lambda it: it.name, corruption_rank)
    severities = severities_words({it.severity or 0 for it in group}).replace(" ", "")
    words = ["sweep", *_run(group), "--spec", first.spec.partition("@")[0], "--corruptions", ",".join(names)]
    words += ["--severities", severities, *_policies(group), *_seed(first)]
    if "8 bit" in first.source:
        words.append("--quantize")
    return [*words, "--corrupted-root", "FOLDER"] if "official" in first.source or "files" in first.source else words


def _attack(group: Group) -> list[str]:
    last = max(group, key=lambda it: _length(it.name))
    parts = [part.removesuffix(")").partition(" (") for part in last.name.split(THEN)]
    names = [name for name, _, _ in parts]
    settings = dict(_setting(words) for _, _, told in parts for words in filter(None, told.split(", ")))
    if len(names) == 1 and last.steps is not None:
        settings["--queries" if names == ["square"] else "--steps"] = str(last.steps)
    if (last.restarts or 1) > 1:
        settings["--restarts"] = str(last.restarts)
    words = ["attack", *_run(group), "--attack", ",".join(names), "--norm", last.norm or ""]
    words += ["--epsilon", _numbers(group), *(word for setting in sorted(settings.items()) for word in setting)]
    protocols = dict.fromkeys(it.partition(" ")[0] or "plain" for it in _each(group, _protocol, protocol_rank))
    words += ["--protocols", ",".join(protocols), *(["--from", "RUN"] if "transfer" in protocols else [])]
    words += ["--batch-size", str(last.batch_size)] if last.batch_size else []
    return [*words, *_seed(last), *(["--min-epsilon"] if last.kind == MINIMAL else [])]


def _setting(words: str) -> tuple[str, str]:
    """Returns the option of a setting in an attack's name: ``"step 0.05"``, ``"loss dlr"`` or ``"50 steps"``."""
    first, _, second = words.partition(" ")
    name, value = (second, first) if first.isdigit() else (first, second)
    return f"--{'step-size' if name == 'step' else name}", value


def _protocol(condition: Condition) -> str:
    return condition.protocol


def _universal(group: Group) -> list[str]:
    first = group[0]
    words = ["attack", *_run(group), "--uap", "--norm", first.norm or "", "--xi", _numbers(group)]
    words += ["--passes", str(first.steps)] if first.steps is not None else []
    crafted = re.search(r"crafted on (\d+) .*delta ([\d.]+)", first.spec)
    words += ["--crafting-images", crafted[1], "--delta", crafted[2]] if crafted else []
    return [*words, "--protocols", ",".join(_each(group, _protocol, protocol_rank))]


def _noise(group: Group) -> list[str]:
    return ["attack", *_run(group), "--random-noise", "--rho", _numbers(group), *_policies(group)]


_COMMANDS: dict[str, Callable[[Group], list[str]]] = {
    "clean": _clean,
    "corruption": _sweep,
    **dict.fromkeys(_ATTACKS, _attack),
    "uap": _universal,
    "random-noise": _noise,
}


def _run(group: Group) -> list[str]:
    return ["--run", group[0].run]


def _seed(condition: Condition) -> list[str]:
    return ["--seed", str(condition.seed)] if condition.seed else []


def _policies(group: Group) -> list[str]:
    policies = [name for name in _each(group, lambda it: it.policy, policy_rank) if name != "none"]
    return ["--lambda", ",".join(policies)] if policies else []


def _numbers(group: Group) -> str:
    return ",".join(epsilon_words(size) for size in sorted({it.epsilon for it in group if it.epsilon is not None}))


def _each(group: Group, what: Callable[[Condition], str], rank: Callable[[str], object]) -> list[str]:
    found: Iterable[str] = {what(it) for it in group}
    return sorted(found, key=rank)  # type: ignore[arg-type]
