"""How the text of an option is read."""

import json
import math
import re
from collections.abc import Sequence
from typing import Literal, Self

from robustcsc.errors import RobustCSCError, UnknownNameError
from robustcsc.measurements.adaptations import parse_adaptation
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.fits import FAMILIES
from robustcsc.measurements.policies import parse_policy
from robustcsc.measurements.protocols import Protocol


class OptionError(RobustCSCError):
    """The value of a command-line option cannot be read."""


class SeverityTuple(tuple[int, ...]):
    """Severities in ascending order; as text they look as they are typed."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the severities that a text such as `1-5` or `1,3,5` names.

        Args:
            text: Numbers and ranges from 1 to 5 with commas between them; repetitions count once.

        Raises:
            OptionError: Something else was typed.
        """
        chosen: set[int] = set()
        for part in str(text).split(","):  # str: typer reads defaults through here, too
            match = re.fullmatch(r"([1-5])(?:-([1-5]))?", part.strip())
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if first > last:
                raise OptionError(f"--severities {text!r}: severities go from 1 to 5, typed like 1-5 or 1,3,5.")
            chosen.update(range(first, last + 1))
        return cls(sorted(chosen))

    def __str__(self) -> str:
        """Returns `1-5` for five in a row, else the numbers with commas between them."""
        if len(self) > 2 and self[-1] - self[0] == len(self) - 1:
            return f"{self[0]}-{self[-1]}"
        return ",".join(map(str, self))


#: What stands between lambda policies: there may be numbers behind ``fixed=``, and no policy begins like one.
_BETWEEN_POLICIES = r",(?!\s*[-+.\d])"


def words(text: str, between: str = ",") -> tuple[str, ...]:
    """Returns the words of a list with commas, or another pattern between them, without repetitions."""
    return tuple(dict.fromkeys(part.strip() for part in re.split(between, text) if part.strip()))


def some(option: str, text: str, between: str = ",") -> tuple[str, ...]:
    """Returns the words of a list, as `words`.

    Raises:
        OptionError: There are none.
    """
    found = words(text, between)
    if not found:
        raise OptionError(f"{option} is empty: write a value, or leave it out.")
    return found


def noises(text: str) -> tuple[str, ...]:
    """Returns the noise families of a list with commas; ``all`` are the four, the pooled and the blind one.

    A family may be called like its corruption, ``gaussian_noise``.

    Raises:
        OptionError: There are none.
        UnknownNameError: One of them is not known.
    """
    known = tuple(FAMILIES)
    families = {kernel: family for family, kernel in NOISE_KERNELS.items()}
    found = known if text == "all" else tuple(families.get(word, word) for word in some("--noise", text))
    for word in found:
        if word not in known:
            raise UnknownNameError("noise", word, known)
    return found


def policies(text: str) -> tuple[str, ...]:
    """Returns the lambda policies of a list with commas; none if the option was not given.

    Raises:
        OptionError: There are none in the list.
        PolicyError: A fixed lambda is no number of at least 0.
        UnknownNameError: One of them is not known.
    """
    found = some("--lambda", text, _BETWEEN_POLICIES) if text else ()
    for word in found:
        if word != "grid":
            parse_policy(word)
    return found


def adaptations(text: str) -> tuple[str, ...]:
    """Returns what else is done at test time, of a list with commas; none if the option was not given.

    Raises:
        OptionError: There is nothing in the list.
        PolicyError: A setting is out of range.
        UnknownNameError: One of them is not known.
    """
    found = some("--test-time", text) if text else ()
    for word in found:
        parse_adaptation(word)
    return found


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Returns the numbers that a text such as `0.1,0.5`, `1/31` or `0.1:1.5:0.1` (first, last, step) names.

    Raises:
        OptionError: Something else was typed.
    """
    try:
        if ":" not in text:
            found = tuple(map(_number, words(text)))
            if found:
                return found
            raise ValueError
        first, last, step = (float(part) for part in text.split(":"))
        count = math.floor((last - first) / step + 1e-9)
        if step > 0 and 0 <= count <= 10_000:
            return tuple(round(first + index * step, 10) for index in range(count + 1))
    except (ValueError, ZeroDivisionError, OverflowError):
        pass
    raise OptionError(f"{option} {text!r} is no list of numbers: write 0.1,0.5,1 or FIRST:LAST:STEP.")


def _number(text: str) -> float:
    numerator, slash, denominator = text.partition("/")
    return float(numerator) / (float(denominator) if slash else 1.0)


def per_channel(option: str, text: str | None) -> tuple[float, ...]:
    """Returns the numbers of a list such as `0.4914,0.4822,0.4465` or `125/255`; none if the option was not given.

    Raises:
        OptionError: Something else was typed.
    """
    if text is None:
        return ()
    try:
        return tuple(map(_number, text.split(",")))
    except (ValueError, ZeroDivisionError) as error:
        raise OptionError(
            f"{option} {text!r} is no list of numbers: write one per channel, like 0.49,0.48,0.45."
        ) from error


def any_batch_size(text: str) -> int | Literal["auto"]:
    """Returns a number of images, or that as many are meant as the memory has room for.

    Raises:
        OptionError: Something else was typed.
    """
    if str(text) == "auto":  # str: typer reads defaults through here, too
        return "auto"
    if not re.fullmatch("0*[1-9][0-9]{,8}", str(text)):
        raise OptionError(f"--batch-size {text!r} is no number of images: write one, such as 250, or auto.")
    return int(text)


def builder_options(pairs: Sequence[str] | None) -> dict[str, object]:
    """Returns options of a builder as typed: numbers and true/false are read as such.

    Raises:
        OptionError: One is not of the form KEY=VALUE.
    """
    parsed: dict[str, object] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise OptionError(f"--model-option {pair!r}: write KEY=VALUE, for example atoms=32.")
        try:
            parsed[key] = json.loads(value, parse_constant=str)  # what is no number of JSON is text
        except (ValueError, RecursionError):
            parsed[key] = value
    return parsed


def protocols(text: str, known: Sequence[str] = tuple(map(str, Protocol))) -> tuple[Protocol, ...]:
    """Returns the attack protocols of a list with commas.

    Raises:
        OptionError: There are none.
        UnknownNameError: One of them is not known.
    """
    found = some("--protocols", text)
    for word in found:
        if word not in known:
            raise UnknownNameError("attack protocol", word, known)
    return tuple(map(Protocol, found))


ALL_SEVERITIES = SeverityTuple((1, 2, 3, 4, 5))
