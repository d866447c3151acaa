"""The commands that are disturbed: short ones, on few digits."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A command.

    Attributes:
        typed: The command.
        again: What is added to repeat it.
        first: What was done in its folder before; the same for all tries.
    """

    typed: str
    again: str = ""
    first: tuple[str, ...] = ()


SWEEP = "sweep --run sdnet-digits --corruptions {} --severities 1,3 --limit 10"
ONE_SWEEP = SWEEP.format("gaussian_noise")
FIT = "fit-lambda --run sdnet-digits --limit 10 --grid 0.1,0.5 --noise gaussian"
EXPORT = "data corrupt --data digits --corruptions gaussian_noise,fog --limit 10 --out exported"
REPORT = "report sdnet-digits --out out --title {}"

EXAMPLES = {
    "sweep": Example(ONE_SWEEP),
    "fit": Example(FIT),
    "train": Example("train resnet-digits --epochs 2 --run new", again=" --resume"),
    "attack": Example(
        "attack --run sdnet-digits --limit 10 --pgd linf --steps 2 --protocols plain --save found.safetensors"
    ),
    "export": Example(EXPORT),
    "report": Example(REPORT.format("new"), first=(ONE_SWEEP, REPORT.format("old"))),
    "merge": Example("merge sdnet-digits --into all", first=(ONE_SWEEP,)),
}
