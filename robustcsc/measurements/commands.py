"""The command that repeats a measurement: run again, it finds the record in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
from robustcsc.measurements.records import Location, Measurement, Record
from robustcsc.measurements.threats import typed_epsilon

Number = int | float

#: Images that commands of attacks take if nobody says how many.
DEFAULT_LIMIT = 1000


@dataclass(frozen=True)
class Command:
    """A command line as facts.

    Attributes:
        name: ``"evaluate"``, ``"sweep"``, ``"attack"``, ``"uap"`` or ``"random-noise"``.
        options: Options and their values, ``""`` for those without one.
        lists: Options with a list of values; commands that differ in these only can be joined.
    """

    name: str
    options: tuple[tuple[str, str], ...]
    lists: Mapping[str, tuple[Number | str, ...]] = field(hash=False, compare=False, default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The words to type behind ``robustcsc``."""
        words = [self.name]
        for option, value in self.options:
            words += [option, value] if value else [option]
        for option, values in self.lists.items():
            words += [option, ",".join(map(_typed, values))] if values else []
        return words


def command_of(record: Record) -> Command:
    """Returns the command that repeats the measurement of a record."""
    made, policy = record.measurement.perturbation, record.measurement.policy
    policies = (typed_policy(policy),) if typed_policy(policy) else ()
    where = _where(record)
    match made:
        case Clean():
            return Command("evaluate", where, {"--lambda": policies})
        case Corruption():
            lists = {"--corruptions": (made.name,), "--severities": (made.severity,), "--lambda": policies}
            return Command("sweep", (*where, *_corruption(made, record.location)), lists)
        case Attack(saved=None):
            return _attack(record, where, made, made.steps)
        case MinimalBudget():
            return _attack(record, (*where, ("--min-epsilon", "")), made, (made.step,))
        case Attack():
            return Command("attack", (*where, ("--score", record.location.files)), {"--lambda": policies})
        case Universal():
            crafting = made.crafting
            options = {"--norm": made.threat.norm, "--delta": f"{crafting.delta!r}", "--passes": f"{crafting.passes}"}
            options |= {"--crafting-images": f"{crafting.count}", "--batch-size": f"{crafting.batch_size}"}
            options |= {"--seed": f"{crafting.seed}", "--seeds": "0"}
            return Command("uap", (*where, *options.items()), _sizes(made))
        case RandomControl():
            controls = (("--only-controls", ""), ("--norm", made.threat.norm), *_seeds(made.seed))
            return Command("uap", (*where, *controls), _sizes(made))
        case RandomNoise():
            return Command("random-noise", (*where, *_seeds(made.seed)), {"--rho": (made.rho,), "--lambda": policies})


def joined_commands(records: Iterable[Record]) -> list[tuple[Command, list[Record]]]:
    """Returns commands that repeat all records, each with those it stands for; it may measure more than those."""
    groups: dict[Command, list[tuple[Command, Record]]] = defaultdict(list)
    for record in records:
        command = command_of(record)
        groups[command].append((command, record))
    joined = []
    for command, members in groups.items():
        lists = {
            option: tuple(sorted({value for each, _ in members for value in each.lists[option]}, key=_rank))
            for option in command.lists
        }
        joined.append((Command(command.name, command.options, lists), [record for _, record in members]))
    return joined


def _where(record: Record) -> tuple[tuple[str, str], ...]:
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
        "--limit": f"{limit or ''}",
        "--batch-size": f"{it.batch_size or ''}",
    }
    return tuple((option, value) for option, value in options.items() if value)


def _corruption(made: Corruption, location: Location) -> list[tuple[str, str]]:
    if made.source is Source.GENERATED:
        options = {"--spec": location.table or made.table.name, "--frost-root": location.frost_root}
        more = [("--quantize", "")] if made.pixels is Pixels.BYTES else []
        return [*((option, value) for option, value in options.items() if value), *more, *_seed(made.seed)]
    # Exported files say their table themselves, which need not be the one that names were chosen from.
    table = location.table or (made.table.name if made.source is Source.OFFICIAL else "")
    return [("--corrupted-root", location.files), *([("--spec", table)] if table else [])]


def _attack(
    record: Record, where: tuple[tuple[str, str], ...], made: Attack | MinimalBudget, steps: tuple[AttackStep, ...]
) -> Command:
    options = [*where, ("--norm", made.threat.norm), *_seed(made.seed)]
    if record.location.source_run and made.protocol is Protocol.TRANSFER:
        options.append(("--from", record.location.source_run))
    lists: dict[str, tuple[Number | str, ...]] = {}
    if len(steps) == 1:
        lists["--attack"] = (typed_step(steps[0]),)
    else:
        options += [("--attack", ",".join(map(typed_step, steps))), ("--in-turn", "")]
    lists["--epsilon"] = (made.threat.epsilon,)
    return Command("attack", (*options, *_protocol(made.protocol, record.measurement, lists)), lists)


def _protocol(
    protocol: Protocol, measurement: Measurement, lists: dict[str, tuple[Number | str, ...]]
) -> tuple[tuple[str, str], ...]:
    """Returns the options of a protocol that cannot be joined with others, and adds the others to `lists`."""
    policy: Policy = measurement.policy
    if isinstance(policy, WorstOf):
        return (("--protocols", protocol), ("--lambdas", ",".join(map(repr, policy.values))))
    if protocol is Protocol.FIXED and isinstance(policy, FixedLambda):
        lists["--lambdas"] = (policy.value,)
        return (("--protocols", protocol),)
    if protocol is Protocol.BLACK_BOX:  # takes no attacks that need gradients, which the others do
        return (("--protocols", protocol),)
    lists["--protocols"] = ((Protocol.TUNED if policy == Oracle() else protocol).value,)
    return ()


def _sizes(made: Universal | RandomControl) -> dict[str, tuple[Number | str, ...]]:
    return {"--xi": (made.threat.epsilon,), "--protocols": (made.protocol.value,)}


def _seed(seed: int) -> tuple[tuple[str, str], ...]:
    return (("--seed", f"{seed}"),) if seed else ()


def _seeds(seed: int) -> tuple[tuple[str, str], ...]:
    return (*_seed(seed), ("--seeds", "1"))


def _typed(value: Number | str) -> str:
    return typed_epsilon(value) if isinstance(value, float) else str(value)


def _rank(value: Number | str) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (value, "")
