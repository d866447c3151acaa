"""Options that several commands share: one name, one help text, one way to read the value.

A command uses an alias as the type of its parameter and gives the default itself: `seed: Seed = 0`.
"""

import json
import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import typer

from robustcsc.errors import RobustCSCError, UnknownNameError
from robustcsc.files import check_writable
from robustcsc.measurements import records
from robustcsc.measurements.corruptions import NOISE_KERNELS
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


def words(text: str) -> tuple[str, ...]:
    """Returns the words of a list with commas, without repetitions."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def some(option: str, text: str) -> tuple[str, ...]:
    """Returns the words of a list with commas.

    Raises:
        OptionError: There are none.
    """
    found = words(text)
    if not found:
        raise OptionError(f"{option} is empty: write a value, or leave it out.")
    return found


def noises(text: str) -> tuple[str, ...]:
    """Returns the noise families of a list with commas; ``all`` are the four and the pooled one.

    Raises:
        OptionError: There are none.
        UnknownNameError: One of them is not known.
    """
    known = (*NOISE_KERNELS, "pooled")
    found = known if text == "all" else some("--noise", text)
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
    found = some("--lambda", text) if text else ()
    for word in found:
        if word != "grid":
            parse_policy(word)
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


def builder_options(pairs: Sequence[str] | None) -> dict[str, object]:
    """Returns options of a builder as typed: numbers and true/false are read as such.

    Raises:
        OptionError: One is not of the form KEY=VALUE.
    """
    parsed: dict[str, object] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise OptionError(f"--option {pair!r}: write KEY=VALUE, for example atoms=32.")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
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

#: An option in a panel of the help pages; the panels are in this order where a command has them all.
in_model, in_data, in_corruptions, in_lambda, in_compute, in_output = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Model", "Data", "Corruptions", "Lambda", "Compute", "Output")
)


def writable(parameter: typer.CallbackParam, value: Path | None) -> Path | None:
    """Refuses a place that cannot be written to, before anything is read; its metavar says whether it is a folder."""
    if value is not None:
        check_writable(value, parameter.opts[0], folder=parameter.metavar == "FOLDER")
    return value


Run = Annotated[
    str | None,
    in_model(
        "--run",
        metavar="NAME",
        help="Run in runs/, or a model that ships with the package; the latest run if not given.",
    ),
]
Runs = Annotated[list[str] | None, typer.Option("--run", metavar="NAME", help="A run to show; may be repeated.")]
Model = Annotated[
    str | None,
    in_model(
        "--model",
        metavar="NAME",
        help="With --weights, a model from elsewhere: a name from `robustcsc models`, or package.module:factory of a "
        "function that returns an nn.Module from images in [0, 1] to logits (a torchvision model behind its "
        "normalisation, say, as it is or with CSC layers from robustcsc.models.convert).",
    ),
]
Weights = Annotated[
    Path | None,
    in_model(
        "--weights", metavar="FILE", help="The state dict for --model: .safetensors, or .pth with nothing but tensors."
    ),
]
BuilderOption = Annotated[
    list[str] | None,
    in_model(
        "--option",
        metavar="KEY=VALUE",
        help="Option of the builder of --model, e.g. shortcut=A or atoms=32; see `robustcsc models`.",
    ),
]
_of_weights = "per channel, in pixel units of [0, 1], if the --weights were trained with another than the default."
Mean = Annotated[str | None, in_model("--mean", metavar="LIST", help=f"Mean of the pixels {_of_weights}")]
Std = Annotated[str | None, in_model("--std", metavar="LIST", help=f"Standard deviation of the pixels {_of_weights}")]
Data = Annotated[
    str | None,
    in_data(
        "--data", metavar="NAME", help="Data set, see `robustcsc data`; the one the run was trained on if not given."
    ),
]
Root = Annotated[Path | None, in_data("--root", metavar="FOLDER", help="Folder the data set is in.")]
Download = Annotated[bool, in_data("--download", help="Fetch the data set into --root if it is missing.")]
ImageSize = Annotated[
    int | None, in_data("--image-size", metavar="N", min=1, help="Resize and crop images of a folder to N.")
]
ClassOrder = Annotated[
    records.ClassOrder | None,
    in_data(
        "--class-order",
        help="Order of class folders 0, 1, 10, 2 as labels: number, unless the run was trained on the other one; text "
        "is the one of torchvision's ImageFolder.",
    ),
]
Workers = Annotated[int, in_data("--workers", metavar="N", min=0, help="Processes that read images.")]
Limit = Annotated[int | None, in_data("--limit", metavar="N", min=1, help="Use N test images only, evenly spaced.")]
Spec = Annotated[
    str | None,
    in_corruptions(
        "--spec",
        metavar="NAME|FILE",
        help="Severity table: cifar10_c, imagenet_c or a TOML file; the one for the image size if not given.",
    ),
]
Corruptions = Annotated[
    str | None,
    in_corruptions(
        "--corruptions",
        metavar="LIST",
        help="all, standard, a group, or names with commas between them; see `robustcsc corruptions`. Without it, all "
        "that can be applied to the images.",
    ),
]
Severities = Annotated[
    SeverityTuple,
    in_corruptions("--severities", metavar="LIST", parser=SeverityTuple.parse, help="Severities, like 1-5 or 1,3,5."),
]
CorruptedRoot = Annotated[
    Path | None,
    in_corruptions(
        "--corrupted-root",
        metavar="FOLDER",
        help="CIFAR-10-C / ImageNet-C files to use instead of generated corruptions: the published ones, or those of "
        "`robustcsc data corrupt`.",
    ),
]
FrostRoot = Annotated[
    Path | None,
    in_corruptions(
        "--frost-root",
        metavar="FOLDER",
        help="The original photographs of frost, frost1.png to frost5.jpg; without them, those of the package "
        "torch-uncertainty-assets.",
    ),
]
Quantize = Annotated[
    bool, in_corruptions("--quantize", help="Truncate corrupted images to 8 bits, as published files are.")
]
LambdaPolicies = Annotated[
    str,
    in_lambda(
        "--lambda",
        metavar="LIST",
        help="How lambda is chosen, commas between several: train, adaptive (once per data set), adaptive-batch, "
        "adaptive-image, oracle (uses the test labels), fixed=NUMBER, grid (every value, for lambda curves). "
        "By default train, and adaptive if there is a fit.",
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], in_compute("--device", help="Where to compute; auto takes a GPU if there is one.")
]
BatchSize = Annotated[int, in_compute("--batch-size", metavar="N", min=1, help="Images per step.")]
Seed = Annotated[int, in_compute("--seed", metavar="N", min=0, max=2**31 - 1, help="Seed of everything random.")]
Remeasure = Annotated[bool, in_output("--remeasure", help="Measure again what the run has measured already.")]
Json = Annotated[bool, in_output("--json", help="Print the result as JSON.")]
