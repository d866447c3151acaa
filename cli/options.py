"""Options that several commands share: one name, one help text, one way to read the value.

A command uses an alias as the type of its parameter and gives the default itself: `seed: Seed = 0`.
"""

import math
import re
from pathlib import Path
from typing import Annotated, Literal, Self

import typer

from robustcsc.errors import RobustCSCError, UnknownNameError

#: Ways to choose lambda; `fixed=NUMBER` comes on top (see `robustcsc.records.Condition.policy`).
LAMBDA_POLICIES = ("none", "train", "adaptive", "adaptive-batch", "adaptive-image", "oracle")


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
                raise OptionError(
                    f"--severities {text!r}: severities go from 1 to 5, typed like 1-5 or 1,3,5."
                )
            chosen.update(range(first, last + 1))
        return cls(sorted(chosen))

    def __str__(self) -> str:
        """Returns `1-5` for five in a row, else the numbers with commas between them."""
        if len(self) > 2 and self[-1] - self[0] == len(self) - 1:
            return f"{self[0]}-{self[-1]}"
        return ",".join(map(str, self))


class PolicyTuple(tuple[str, ...]):
    """Lambda policies in the order they were asked for; as text they look as they are typed."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the lambda policies that a text such as `train,adaptive,fixed=0.5` names.

        Args:
            text: Names from `LAMBDA_POLICIES` or `fixed=NUMBER`, with commas between them; repetitions
                count once.

        Raises:
            UnknownNameError: There is no policy of that name.
            OptionError: The number after `fixed=` is not a finite positive number.
        """
        return cls(dict.fromkeys(_policy(part.strip()) for part in str(text).split(",")))

    def __str__(self) -> str:
        """Returns the names with commas between them."""
        return ",".join(self)


def _policy(name: str) -> str:
    """Returns one lambda policy in the spelling that records use."""
    if name in LAMBDA_POLICIES:
        return name
    kind, equals, number = name.partition("=")
    if kind != "fixed":
        raise UnknownNameError("lambda policy", name, (*LAMBDA_POLICIES, "fixed=NUMBER"))
    try:
        lam = float(number)
    except ValueError:
        lam = math.nan
    if not (equals and 0 < lam < math.inf):
        raise OptionError(f"--lambda {name!r}: give a lambda above zero, for example fixed=0.5.")
    return f"fixed={lam:g}"


ALL_SEVERITIES = SeverityTuple((1, 2, 3, 4, 5))
TRAIN_AND_ADAPTIVE = PolicyTuple(("train", "adaptive"))

Run = Annotated[
    str | None,
    typer.Option("--run", metavar="NAME", help="Run folder under runs/; the latest run if not given."),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="NAME", help="Data set; see `robustcsc data`.", rich_help_panel="Data"),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="FOLDER", help="Folder the data set is in.", rich_help_panel="Data"),
]
Download = Annotated[
    bool,
    typer.Option(
        "--download", help="Fetch the data set into --root if it is missing.", rich_help_panel="Data"
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, help="Use the first N test images only.", rich_help_panel="Data"
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(
        "--device", help="Where to compute; auto takes a GPU if there is one.", rich_help_panel="Compute"
    ),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", metavar="N", min=1, help="Images per step.", rich_help_panel="Compute"),
]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, help="Seed of everything random.", rich_help_panel="Compute"),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Spec = Annotated[
    str | None,
    typer.Option(
        "--spec",
        metavar="NAME|FILE",
        help="Severity table: cifar10_c, imagenet_c or a TOML file; the one for the image size if not given.",
        rich_help_panel="Corruptions",
    ),
]
Severities = Annotated[
    SeverityTuple,
    typer.Option(
        "--severities",
        metavar="LIST",
        parser=SeverityTuple.parse,
        help="Severities, like 1-5 or 1,3,5.",
        rich_help_panel="Corruptions",
    ),
]
Corruptions = Annotated[
    str,
    typer.Option(
        "--corruptions",
        metavar="LIST",
        help="all, standard, a group, or names with commas between them; see `robustcsc corruptions`.",
        rich_help_panel="Corruptions",
    ),
]
LambdaPolicies = Annotated[
    PolicyTuple,
    typer.Option(
        "--lambda",
        metavar="LIST",
        parser=PolicyTuple.parse,
        help=f"How lambda is chosen, commas between several: {', '.join(LAMBDA_POLICIES)} or fixed=NUMBER.",
    ),
]
