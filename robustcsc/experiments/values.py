"""How an experiment file writes values: lists of words, budgets like ``"8/255"``, paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from robustcsc.errors import UnknownNameError
from robustcsc.measurements.adaptations import parse_adaptation
from robustcsc.measurements.attacks import AttackStep, parse_step
from robustcsc.measurements.fits import FAMILIES
from robustcsc.measurements.policies import parse_policy
from robustcsc.measurements.protocols import BASIC, Protocol
from robustcsc.measurements.threats import parse_epsilon


@dataclass(frozen=True)
class Written:
    """How a field is written, where that is not its own type.

    Attributes:
        kind: The type in the file, for `msgspec.convert`.
        read: Makes the value of the field; it raises a `RobustCSCError` at a word that does not exist.
    """

    kind: Any
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class NameOrFile:
    """Marks text that is a name, or with the ending ``.toml`` a file."""


def _each(read: Callable[[Any], Any]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    return lambda values: tuple(map(read, values))


def _noises(words: Sequence[str]) -> tuple[str, ...]:
    known = tuple(FAMILIES)
    for word in words:
        if word not in (*known, "all"):
            raise UnknownNameError("noise", word, (*known, "all"))
    return known if "all" in words else tuple(words)


def _policy(word: str) -> str:
    if word != "grid":
        parse_policy(word)
    return word


def _adaptation(word: str) -> str:
    parse_adaptation(word)
    return word


def _protocol(known: Sequence[Protocol]) -> Callable[[str], Protocol]:
    def read(word: str) -> Protocol:
        if word not in known:
            raise UnknownNameError("attack protocol", word, map(str, known))
        return Protocol(word)

    return read


def _budget(value: float | str) -> float:
    return parse_epsilon(str(value))


_Words = tuple[str, ...]
AtLeastOne = Annotated[int, Meta(ge=1, le=2**31 - 1)]
AnyBatchSize = AtLeastOne | Literal["auto"]
Seed = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Severities = tuple[Annotated[int, Meta(ge=1, le=5)], ...]
SpecName = Annotated[str, NameOrFile()]
Numbers = tuple[float, ...]
Budget = Annotated[float, Written(float | str, _budget)]
Budgets = Annotated[tuple[float, ...], Written(tuple[float | str, ...], _each(_budget))]
Noises = Annotated[_Words, Written(_Words, _noises)]
Policies = Annotated[_Words, Written(_Words, _each(_policy))]
Adaptations = Annotated[_Words, Written(_Words, _each(_adaptation))]
Protocols = Annotated[tuple[Protocol, ...], Written(_Words, _each(_protocol(tuple(Protocol))))]
BasicProtocols = Annotated[tuple[Protocol, ...], Written(_Words, _each(_protocol(BASIC)))]
Steps = Annotated[tuple[AttackStep, ...], Written(_Words, _each(parse_step))]
