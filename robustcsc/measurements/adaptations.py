"""What else is done at test time without training, beside choosing lambda.

Sources: Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS 2020
(batch statistics); Wang et al., "Tent: Fully test-time adaptation by entropy minimization", ICLR 2021.
"""

from __future__ import annotations

import math
from enum import StrEnum
from importlib.util import find_spec
from typing import Literal, NamedTuple, get_args

import msgspec

from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.measurements.facts import Fact, as_float


class Order(StrEnum):
    """The order in which images come: batch statistics know each image's neighbours, and Tent learns from the past."""

    #: That of the data set, which is sorted by class if that is a folder of images.
    GIVEN = "given"
    SHUFFLED = "shuffled"
    #: Sorted by class, so that most batches hold images of one class only.
    CLASS = "class"


class Reading(NamedTuple):
    """How images are put into batches; the last batch may be smaller."""

    size: int
    order: Order
    seed: int


def _check(made: Fact, name: str, **least: int) -> None:
    for setting, bound in least.items():
        if getattr(made, setting) < bound:
            raise PolicyError(
                f"{setting}={getattr(made, setting)} is too small: write at least {bound}, such as "
                f"--test-time {name}:{setting}={bound}."
            )


class BatchStatistics(Fact, frozen=True, tag="bn"):
    """Batch normalisation with the statistics of the test batch.

    Attributes:
        batch: Images in a batch, at least 1.
        prior: The weight of the stored statistics, as a number of images: N of Schneider et al., section 3.
        order: Which images are in a batch together.
        seed: Seed of a shuffled order.

    Raises:
        PolicyError: A number is out of range.

    Examples:
        >>> parse_adaptation("bn:batch=16:prior=64")
        BatchStatistics(batch=16, prior=64, order=<Order.SHUFFLED: 'shuffled'>, seed=0)
    """

    batch: int = 250
    prior: int = 0
    order: Order = Order.SHUFFLED
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, "bn", batch=1, prior=0, seed=0)


class Shift(Fact, frozen=True, tag="shift"):
    """Batch normalisation that undoes the shift of a batch against clean images, as far as it is no chance.

    See `robustcsc.adaptive.shift`.

    Attributes:
        batch: Images in a batch, at least 1.
        order: Which images are in a batch together.
        seed: Seed of a shuffled order.
        reference: Digest of what the model makes of clean images, ``""`` for what its run has.

    Raises:
        PolicyError: A number is out of range.

    Examples:
        >>> parse_adaptation("shift:batch=16") == Shift(batch=16)
        True
    """

    batch: int = 250
    order: Order = Order.SHUFFLED
    seed: int = 0
    reference: str = ""

    def __post_init__(self) -> None:
        _check(self, "shift", batch=1, seed=0)


class Tent(Fact, frozen=True, tag="tent"):
    """Batch statistics, and gradient steps of the affine parameters of batch normalisation that lower the entropy.

    The defaults are those of the authors for CIFAR-10-C.

    Attributes:
        batch: Images in a batch, at least 1.
        learning_rate: Of Adam, above 0.
        steps: Steps on each batch, at least 1; the answer is that before the last of them.
        episodic: Whether every batch begins with the trained parameters, instead of those of the batch before.
        order: The order in which images come.
        seed: Seed of a shuffled order.

    Raises:
        PolicyError: A number is out of range.

    Examples:
        >>> parse_adaptation("tent:order=class").learning_rate
        0.001
    """

    batch: int = 200
    learning_rate: float = 1e-3
    steps: int = 1
    episodic: bool = False
    order: Order = Order.SHUFFLED
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, "tent", batch=1, steps=1, seed=0)
        if not 0 < self.learning_rate < math.inf:
            raise PolicyError(
                f"A learning rate of {self.learning_rate:g} adapts nothing: write one above 0, such as "
                "--test-time tent:learning_rate=0.001."
            )
        as_float(self, "learning_rate")


#: Ways of removing noise, all of scikit-image: wavelet shrinkage (BayesShrink), total variation (Chambolle), non-local
#: means.
Denoiser = Literal["wavelet", "tv", "nlm"]


class Denoise(Fact, frozen=True, tag="denoise"):
    """Noise is removed from each image before the model sees it; how much is estimated from the image.

    Attributes:
        method: How.
    """

    method: Denoiser


def check_denoisers() -> None:
    """Raises a `PolicyError` if scikit-image is not installed."""
    if find_spec("skimage") is None or find_spec("pywt") is None:
        raise PolicyError("--test-time denoise needs the package scikit-image: pip install 'robustcsc[denoise]'.")


Adaptation = BatchStatistics | Shift | Tent | Denoise

_NAMED: dict[str, type[BatchStatistics | Shift | Tent]] = {"bn": BatchStatistics, "shift": Shift, "tent": Tent}
#: A setting that nobody types.
_REFERENCE = "reference"
_DENOISERS: dict[str, Denoise] = {f"denoise-{method}": Denoise(method=method) for method in get_args(Denoiser)}
#: The word for the model as it is.
NONE = "none"
#: All words that people type for ``--test-time``.
ADAPTATION_WORDS = (NONE, *_NAMED, *_DENOISERS)


def parse_adaptation(text: str) -> Adaptation | None:
    """Returns what a user typed, such as ``"bn"``, ``"tent:steps=3"`` or ``"denoise-tv"``; `None` for ``"none"``.

    Raises:
        UnknownNameError: There is no such adaptation, or it has no such setting.
        PolicyError: A value is out of range or no number.
    """
    name, *settings = text.split(":")
    if name not in ADAPTATION_WORDS:
        raise UnknownNameError("adaptation at test time", name, ADAPTATION_WORDS)
    known = [it for it in _NAMED[name].__struct_fields__ if it != _REFERENCE] if name in _NAMED else []
    values: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key in values:
            raise PolicyError(f"--test-time {text} has {key} twice: write it once.")
        values[key] = value
        if key not in known:
            raise (
                UnknownNameError(f"setting of {name}", key, known)
                if known
                else PolicyError(f"{name} has no settings: write --test-time {name}.")
            )
    if name not in _NAMED:
        return _DENOISERS.get(name)
    try:
        return msgspec.convert(values, _NAMED[name], strict=False)
    except msgspec.ValidationError as error:
        raise PolicyError(
            f"--test-time {text}: batch, prior, steps and seed are whole numbers, learning_rate is a number, "
            f"order is one of {', '.join(Order)}, and episodic is true or false."
        ) from error


def typed_adaptation(made: Adaptation) -> str:
    """Returns an adaptation as a user types it, with the settings that differ from the defaults.

    Examples:
        >>> typed_adaptation(Tent(batch=64, episodic=True)), typed_adaptation(Denoise(method="tv"))
        ('tent:batch=64:episodic=true', 'denoise-tv')
    """
    if isinstance(made, Denoise):
        return f"denoise-{made.method}"
    name = next(name for name, kind in _NAMED.items() if isinstance(made, kind))
    values = {it: getattr(made, it) for it in made.__struct_fields__ if it != _REFERENCE}
    changed = {it: value for it, value in values.items() if value != getattr(_NAMED[name](), it)}
    return ":".join([name, *(f"{it}={str(value).lower()}" for it, value in changed.items())])


def reading_of(made: Adaptation) -> Reading | None:
    """Returns how images are put into batches, for an adaptation whose answers depend on that; else `None`."""
    return None if isinstance(made, Denoise) else Reading(made.batch, made.order, made.seed)


def check_suited(made: Adaptation | None, model: str, *, has_batch_norm: bool) -> None:
    """Refuses an adaptation that does not suit a model.

    Raises:
        PolicyError: The model has no batch normalisation with stored statistics, or a package is missing.
    """
    if isinstance(made, Denoise):
        check_denoisers()
    elif made is not None and not has_batch_norm:
        raise PolicyError(
            f"{model} has no batch normalisation to adapt: leave {typed_adaptation(made)} out of --test-time."
        )
