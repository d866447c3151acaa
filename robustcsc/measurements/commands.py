"""The command that repeats a measurement: run again, it finds the record in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from robustcsc.measurements.attacks import AttackStep, typed_step
from robustcsc.measurements.perturbations import (
    Attack,
    Clean,
    Corruption,
    MinimalBudget,
    Pixels,
    RandomControl,
    RandomNoise,
    Source,
    Universal,
)
from robustcsc.measurements.policies import FixedLambda, Oracle, Policy, WorstOf, typed_policy
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Location, Record
from robustcsc.measurements.threats import typed_epsilon

Number = int | float
#: Value of an option, ``""`` without one; a tuple is a list, and commands that differ in lists only can be joined.
Value = str | tuple[Number | str, ...]

#: Images that commands of attacks take if nobody says how many.
DEFAULT_LIMIT = 1000


class Command(NamedTuple):
    """A command line as facts.

    Attributes:
        name: ``"evaluate"``, ``"sweep"``, ``"attack"``, ``"uap"`` or ``"random-noise"``.
        options: Options and their values.
    """

    name: str
    options: dict[str, Value]

    @property
    def words(self) -> list[str]:
        """The words to type behind ``robustcsc``, lists last."""
        words = [self.name]
        for option, value in sorted(self.options.items(), key=lambda item: isinstance(item[1], tuple)):
            if isinstance(value, str):
                words += [option, value] if value else [option]
            elif value:
                words += [option, ",".join(map(_typed, value))]
        return words


def command_of(record: Record) -> Command:
    """Returns the command that repeats the measurement of a record."""
    made, policy = record.measurement.perturbation, record.measurement.policy
    where = _where(record)
    policies: dict[str, Value] = {"--lambda": (typed_policy(policy),) if typed_policy(policy) else ()}
    match made:
        case Clean():
            return Command("evaluate", where | policies)
        case Corruption():
            lists: dict[str, Value] = {"--corruptions": (made.name,), "--severities": (made.severity,)}
            return Command("sweep", where | _corruption(made, record.location) | lists | policies)
        case Attack(saved=None):
            return Command("attack", where | _attack(record, made, made.steps))
        case MinimalBudget():
            return Command("attack", where | {"--min-epsilon": ""} | _attack(record, made, (made.step,)))
        case Attack():
            return Command("attack", where | {"--score": record.location.files} | policies)
        case Universal():
            crafting = made.crafting
            options = {"--norm": made.threat.norm, "--delta": f"{crafting.delta!r}", "--passes": f"{crafting.passes}"}
            options |= {"--crafting-images": f"{crafting.count}", "--batch-size": f"{crafting.batch_size}"}
            options |= {"--seed": f"{crafting.seed}", "--seeds": "0"}
            return Command("uap", where | options | _sizes(made))
        case RandomControl():
            options = {"--only-controls": "", "--norm": made.threat.norm, **_seed(made.seed), "--seeds": "1"}
            return Command("uap", where | options | _sizes(made))
        case RandomNoise():
            options = {**_seed(made.seed), "--seeds": "1"}
            return Command("random-noise", where | options | {"--rho": (made.rho,)} | policies)


def joined_commands(records: Iterable[Record]) -> list[tuple[Command, list[Record]]]:
    """Returns commands that repeat all records, each with those it stands for; it may measure more than those."""
    groups: dict[object, list[tuple[Command, Record]]] = defaultdict(list)
    for record in records:
        command = command_of(record)
        single = tuple(item for item in command.options.items() if isinstance(item[1], str))
        groups[command.name, single].append((command, record))
    joined = []
    for members in groups.values():
        command = members[0][0]
        lists = (option for option, value in command.options.items() if isinstance(value, tuple))
        values = {option: {it for each, _ in members for it in each.options[option]} for option in lists}
        options = command.options | {option: tuple(sorted(its, key=_rank)) for option, its in values.items()}
        joined.append((Command(command.name, options), [record for _, record in members]))
    return joined


def _where(record: Record) -> dict[str, Value]:
    """Returns the options that name the model, the images and the batch size."""
    it, location = record.measurement, record.location
    limit = location.limit
    if limit is None and it.images.count > DEFAULT_LIMIT and not isinstance(it.perturbation, Clean | Corruption):
        limit = it.images.count
    options = {
        "--run": it.subject.run,
        "--model": it.subject.model if ":" in it.subject.model else "",
        "--data": location.data,
        "--root": location.root,
        "--image-size": f"{location.image_size or ''}",
        "--class-order": location.class_order or "",
        "--classes": location.classes,
        "--answers": location.answers if location.answers == "folder" else "",
        "--limit": f"{limit or ''}",
        "--batch-size": f"{it.batch_size or ''}",
    }
    return _given(options)


def _given(options: Mapping[str, str]) -> dict[str, Value]:
    return {option: value for option, value in options.items() if value}


def _corruption(made: Corruption, location: Location) -> dict[str, Value]:
    if made.source is Source.GENERATED:
        options = {"--spec": location.table or made.table.name, "--frost-root": location.frost_root}
        return _given(options) | ({"--quantize": ""} if made.pixels is Pixels.BYTES else {}) | _seed(made.seed)
    # Exported files say their table themselves, which need not be the one that names were chosen from.
    table = location.table or (made.table.name if made.source is Source.OFFICIAL else "")
    return {"--corrupted-root": location.files, **_given({"--spec": table})}


def _attack(record: Record, made: Attack | MinimalBudget, steps: tuple[AttackStep, ...]) -> dict[str, Value]:
    options: dict[str, Value] = {"--norm": made.threat.norm, **_seed(made.seed)}
    if record.location.source_run and made.protocol is Protocol.TRANSFER:
        options["--from"] = record.location.source_run
    typed = tuple(map(typed_step, steps))
    options |= {"--attack": typed} if len(typed) == 1 else {"--attack": ",".join(typed), "--in-turn": ""}
    return options | {"--epsilon": (made.threat.epsilon,)} | _protocol(made.protocol, record.measurement.policy)


def _protocol(protocol: Protocol, policy: Policy) -> dict[str, Value]:
    """Returns the protocol and its lambdas: as lists where they can be joined with others."""
    if isinstance(policy, WorstOf):
        return {"--protocols": protocol.value, "--lambdas": ",".join(map(repr, policy.values))}
    if protocol is Protocol.FIXED and isinstance(policy, FixedLambda):
        return {"--protocols": protocol.value, "--lambdas": (policy.value,)}
    if protocol is Protocol.BLACK_BOX:  # takes no attacks that need gradients, which the others do
        return {"--protocols": protocol.value}
    return {"--protocols": ((Protocol.TUNED if policy == Oracle() else protocol).value,)}


def _sizes(made: Universal | RandomControl) -> dict[str, Value]:
    return {"--xi": (made.threat.epsilon,), "--protocols": (made.protocol.value,)}


def _seed(seed: int) -> dict[str, str]:
    return {"--seed": f"{seed}"} if seed else {}


def _typed(value: Number | str) -> str:
    return typed_epsilon(value) if isinstance(value, float) else str(value)


def _rank(value: Number | str) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (value, "")
