"""What measurements ask of a model, counted in images before anything is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from robustcsc.measurements.attacks import AttackStep, Value
from robustcsc.measurements.facts import Count, Fact, Positive, Size, replace
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Crafting, Perturbation


class Passes(Fact, frozen=True):
    """How often a model sees an image.

    Attributes:
        forward: Images that it classifies.
        residual: Images whose residual is taken, for an adaptive lambda: a pass up to the last layer with a lambda.
        gradient: Images that a gradient is taken for.
        exact: Whether it is as often as that, or at most: attacks are done with images that they have broken.

    Examples:
        >>> Passes(forward=2) * 10 + Passes(gradient=5, exact=False)
        Passes(forward=20, residual=0, gradient=5, exact=False)
    """

    forward: Count = 0
    residual: Count = 0
    gradient: Count = 0
    exact: bool = True

    def __add__(self, other: Passes) -> Passes:
        """Returns both together."""
        return Passes(
            forward=self.forward + other.forward,
            residual=self.residual + other.residual,
            gradient=self.gradient + other.gradient,
            exact=self.exact and other.exact,
        )

    def __mul__(self, times: int) -> Passes:
        """Returns the same several times."""
        return Passes(
            forward=self.forward * times,
            residual=self.residual * times,
            gradient=self.gradient * times,
            exact=self.exact,
        )

    @property
    def total(self) -> int:
        """All of them, of whatever kind."""
        return self.forward + self.residual + self.gradient

    @property
    def at_most(self) -> Self:
        """The same, as a bound."""
        return replace(self, exact=False)


class LambdaFitting(Fact, frozen=True, tag="lambda-fit"):
    """A lambda fit of a noise family, which is no perturbation of test images."""

    noise: str


class GradientChecking(Fact, frozen=True, tag="gradient-checks"):
    """Whether the gradients of what is attacked can be trusted, looked at on a few images."""


class Piece(Fact, frozen=True):
    """A part of a plan: one cell, what is checked for it, or a lambda fit.

    Attributes:
        what: What is done.
        missing: How many records are to be measured, or fits.
        stored: How many the run has already.
        images: Images that it is about.
        perturbed: Images that are read, and corrupted if it is a corruption; an image that is read twice counts twice.
        passes: What is asked of the model for it.
    """

    what: Perturbation | LambdaFitting | GradientChecking
    missing: Count
    stored: Count
    images: Count
    perturbed: Count = 0
    passes: Passes = Passes()

    @property
    def effort(self) -> float:
        """About how long it takes, where one image through the model takes 1."""
        asked = self.passes
        return self.perturbed + asked.forward + asked.residual + 2.0 * asked.gradient


class Timing(Fact, frozen=True):
    """About how long a plan takes once the program has started.

    Attributes:
        fastest: Seconds at the fastest pace that was seen, with the start of workers.
        slowest: Seconds at the slowest.
        images: Images of a batch that was timed.
        device: Where.
        workers: Processes that are assumed to share the work: no more than there are devices for.
        threads: CPU threads of each, with which the batch was timed.
        starting: Seconds until they are there, which are counted.
    """

    fastest: Size
    slowest: Size
    images: Count
    device: str
    workers: Positive = 1
    threads: Positive = 1
    starting: Size = 0.0


class Plan(Fact, frozen=True):
    """What a call would measure.

    Attributes:
        pieces: Its parts, in order.
        timing: About how long it takes; ``None`` if nothing is left to do.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.open("sdnet-digits", measuring=rc.Measuring(dry_run=True))
        >>> plan = sdnet.sweep(sdnet.images(limit=50), corruptions="noise", policies=["train", "oracle"]).plan
        >>> plan.missing, plan.stored, plan.passes
        (42, 0, Passes(forward=16800, residual=0, gradient=0, exact=True))
    """

    pieces: tuple[Piece, ...]
    timing: Timing | None = None

    @property
    def missing(self) -> int:
        """How many records or fits are to be made."""
        return sum(it.missing for it in self.pieces)

    @property
    def stored(self) -> int:
        """How many the run has already."""
        return sum(it.stored for it in self.pieces)

    @property
    def passes(self) -> Passes:
        """All passes together."""
        return sum((it.passes for it in self.pieces), Passes())


class Fits(dict[str, LambdaFit]):
    """Lambda fits by noise family.

    Attributes:
        plan: What the others would have asked of the model, in a dry run; ``None`` if it was none.
    """

    def __init__(self, fits: Mapping[str, LambdaFit], plan: Plan | None = None) -> None:
        super().__init__(fits)
        self.plan = plan


#: Settings of an attack, defaults included.
_Settings = Mapping[str, Value]


def _steps(more: int = 0) -> Callable[[_Settings, int], Passes]:
    return lambda its, classes: Passes(forward=int(its["steps"]) + more, gradient=int(its["steps"]) + more)


def _targeted_apgd(its: _Settings, classes: int) -> Passes:
    return (Passes(forward=1) + _steps(1)(its, classes) * min(int(its["targets"]), classes - 1)).at_most


def _fab(its: _Settings, classes: int) -> Passes:
    return Passes(forward=1 + 2 * int(its["steps"]), gradient=classes * int(its["steps"]), exact=False)


def _carlini_wagner(its: _Settings, classes: int) -> Passes:
    searches, steps = int(its["searches"]), int(its["steps"])
    return Passes(forward=searches * (steps + 1), gradient=searches * steps, exact=False)


def _deepfool(its: _Settings, classes: int) -> Passes:
    return Passes(forward=3, gradient=min(10, classes) - 1, exact=False) * int(its["steps"])


def _autoattack_port(its: _Settings, classes: int) -> Passes:
    others, steps = classes - 1, 10  # each attack looks at the images before and after
    apgd, targeted = Passes(forward=steps + 1, gradient=steps + 1), Passes(forward=2 * steps + 3, gradient=steps)
    square = Passes(forward=1 + 5000)
    return (apgd + apgd * others + targeted * others + square + Passes(forward=1 + 4 * 3)).at_most


#: What one attempt at an image asks at most, by attack; `robustcsc.attacks.searches` makes the attempts.
_ATTEMPTS: dict[str, Callable[[_Settings, int], Passes]] = {
    "fgsm": lambda its, classes: Passes(forward=1, gradient=1),
    "pgd": _steps(),
    "apgd": _steps(1),
    "apgd-t": _targeted_apgd,
    "square": lambda its, classes: Passes(forward=1 + int(its["queries"]), exact=False),
    "fab": _fab,
    "cw": _carlini_wagner,
    "deepfool": _deepfool,
    "autoattack-port": _autoattack_port,
}
#: Attacks that first ask which images are misclassified already.
_MINIMUM_NORM = ("fab", "cw", "deepfool")


def attack_passes(step: AttackStep, images: int, batches: int, classes: int) -> Passes:
    """Returns what an attack with a budget above 0 asks of the model that it attacks.

    Args:
        step: The attack.
        images: How many images it attacks.
        batches: In how many batches, each of which begins with a look at one image.
        classes: How many classes the model has.
    """
    settings = {name: it for name, it in step.kind.settings.items() if it is not None} | dict(step.settings)
    attempt, look = _ATTEMPTS[step.name](settings, classes), Passes(forward=1)
    if step.restarts > 1:  # between them there is a choice
        attempt = (look + (attempt + look) * step.restarts).at_most
    elif step.name in _MINIMUM_NORM:
        attempt += look
    return Passes(forward=1, gradient=int(step.kind.gradients)) * batches + attempt * images


def crafting_passes(crafting: Crafting, classes: int, *, inner_steps: int, counted: int) -> Passes:
    """Returns what the crafting of a universal perturbation asks at most.

    Args:
        crafting: How it is crafted.
        classes: How many classes the model has.
        inner_steps: Steps of DeepFool for an image.
        counted: How often a pass counts the images that are fooled.
    """
    candidates, one_by_one = min(10, classes) - 1, crafting.batch_size == 1
    gradients = candidates * inner_steps if one_by_one else candidates + inner_steps - 1
    each = Passes(forward=1 + inner_steps + 1 + (1 if one_by_one else counted), gradient=gradients)
    return (Passes(forward=1) + each * crafting.passes).at_most * crafting.count
