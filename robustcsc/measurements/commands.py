"""The command that repeats a measurement: run again, it finds the record in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from robustcsc.measurements.attacks import AttackStep, typed_step
from robustcsc.measurements.perturbations import (
    Attack,
    Clean,
    Corruption,
    MinimalBudget,
    Perturbation,
    Pixels,
    RandomControl,
    RandomNoise,
    Source,
    Universal,
)
from robustcsc.measurements.policies import (
    FixedLambda,
    Oracle,
    Policy,
    WorstOf,
    lambda_of,
    typed_policy,
    typed_test_time,
)
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Location, Measurement, Precision, Record, Subject
from robustcsc.measurements.threats import typed_epsilon

Number = int | float
#: Value of an option, ``""`` without one; a tuple is a list, and commands that differ in lists only can be joined.
Value = str | tuple[Number | str, ...]
#: Options with their values, lists left out.
Single = tuple[tuple[str, Value], ...]

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
    command, _ = _command(record)
    return Command(command.name, dict(_model(record.measurement)) | command.options)


def _command(record: Record) -> tuple[Command, Single]:
    """Returns the command without the options of `_named`, which many models share, and its options but lists.

    Joining the commands of 200,000 records takes a moment only if each is made once.
    """
    it = record.measurement
    return _shared(it.perturbation, it.policy, it.images.count, it.batch_size, record.location)


@lru_cache(maxsize=2**14)
def _shared(
    made: Perturbation, policy: Policy, count: int, batch_size: int | None, location: Location
) -> tuple[Command, Single]:
    command = _made(made, policy, count, batch_size, location)
    return command, tuple(item for item in command.options.items() if isinstance(item[1], str))


def _made(made: Perturbation, policy: Policy, count: int, batch_size: int | None, location: Location) -> Command:
    where = _where(made, count, batch_size, location)
    where |= _given({"--test-time": typed_test_time(policy)})
    policies: dict[str, Value] = {"--lambda": (typed_policy(policy),) if typed_policy(policy) else ()}
    match made:
        case Clean():
            return Command("evaluate", where | policies)
        case Corruption():
            lists: dict[str, Value] = {"--corruptions": (made.name,), "--severities": (made.severity,)}
            return Command("sweep", where | _corruption(made, location) | lists | policies)
        case Attack(saved=None):
            return Command("attack", where | _attack(made, made.steps, policy, location))
        case MinimalBudget():
            return Command("attack", where | {"--min-epsilon": ""} | _attack(made, (made.step,), policy, location))
        case Attack():
            return Command("attack", where | {"--score": location.files} | policies)
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
    groups: dict[object, tuple[dict[int, Command], list[Record]]] = defaultdict(lambda: ({}, []))
    for record in records:
        command, single = _command(record)
        different, members = groups[_model(record.measurement), command.name, single]
        different[id(command)] = command
        members.append(record)
    joined = []
    for different, members in groups.values():
        first, *_ = different.values()
        model = dict(_model(members[0].measurement))
        lists = (option for option, value in first.options.items() if isinstance(value, tuple))
        values = {option: {it for each in different.values() for it in each.options[option]} for option in lists}
        options = first.options | {option: tuple(sorted(its, key=_rank)) for option, its in values.items()}
        joined.append((Command(first.name, model | options), members))
    return joined


def _model(it: Measurement) -> Single:
    return _named(it.subject, it.precision)


@lru_cache(maxsize=2**14)
def _named(subject: Subject, precision: Precision) -> Single:
    """Returns the options that name the model and what it computes in."""
    named = {"--run": subject.run, "--model": subject.model if ":" in subject.model else ""}
    named["--precision"] = "" if precision == "fp32" else precision
    return tuple(_given(named).items())


def _where(made: Perturbation, count: int, batch_size: int | None, location: Location) -> dict[str, Value]:
    """Returns the options that name the images and the batch size."""
    limit = location.limit
    if limit is None and count > DEFAULT_LIMIT and not isinstance(made, Clean | Corruption):
        limit = count
    options = {
        "--data": location.data,
        "--root": location.root,
        "--image-size": f"{location.image_size or ''}",
        "--class-order": location.class_order or "",
        "--classes": location.classes,
        "--answers": location.answers if location.answers == "folder" else "",
        "--limit": f"{limit or ''}",
        "--batch-size": f"{batch_size or ''}",
    }
    return _given(options)


def _given(options: Mapping[str, str]) -> dict[str, Value]:
    return {option: value for option, value in options.items() if value}


def _corruption(made: Corruption, location: Location) -> dict[str, Value]:
    if made.source is Source.GENERATED:
        options = {"--spec": location.table or made.table.name, "--frost-root": location.frost_root}
        return _given(options) | ({"--float": ""} if made.pixels is Pixels.FLOAT else {}) | _seed(made.seed)
    # Exported files say their table themselves, which need not be the one that names were chosen from.
    table = location.table or (made.table.name if made.source is Source.OFFICIAL else "")
    return {"--corrupted-root": location.files, **_given({"--spec": table})}


def _attack(
    made: Attack | MinimalBudget, steps: tuple[AttackStep, ...], policy: Policy, location: Location
) -> dict[str, Value]:
    options: dict[str, Value] = {"--norm": made.threat.norm, **_seed(made.seed)}
    if location.source_run and made.protocol is Protocol.TRANSFER:
        options["--from"] = location.source_run
    typed = tuple(map(typed_step, steps))
    options |= {"--attack": typed} if len(typed) == 1 else {"--attack": ",".join(typed), "--in-turn": ""}
    return options | {"--epsilon": (made.threat.epsilon,)} | _protocol(made.protocol, policy)


def _protocol(protocol: Protocol, policy: Policy) -> dict[str, Value]:
    """Returns the protocol and its lambdas: as lists where they can be joined with others."""
    policy = lambda_of(policy)
    if isinstance(policy, WorstOf):
        return {"--protocols": protocol.value, "--lambdas": ",".join(map(repr, policy.values))}
    if protocol is Protocol.FIXED and isinstance(policy, FixedLambda) and isinstance(policy.value, float):
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
