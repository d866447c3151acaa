"""Training recipes as data: the papers' settings, and short ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from math import ceil, cos, pi
from typing import Any, Literal

from robustcsc.errors import RobustCSCError, UnknownNameError

Schedule = Literal["cosine", "steps", "onecycle", "inverse"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to train a model with cross-entropy.

    Attributes:
        epochs: Passes over the training images; 0 if `iterations` is set.
        batch_size: Images per step.
        learning_rate: Initial (cosine, steps) or largest (onecycle) learning rate.
        schedule: ``"cosine"`` to `final_rate`; ``"steps"``, times `drop` at `milestones`; ``"onecycle"``, linear up in
            the first quarter, then linear down to 0; ``"inverse"``, constant for `turn` steps, then proportional to
            1 / step.
        milestones: Epochs at which the learning rate drops (steps only).
        drop: Factor of the learning rate at a milestone (steps only).
        momentum: Momentum of SGD.
        nesterov: Whether it is Nesterov's.
        weight_decay: Weight of half the squared norm of the decayed parameters.
        decayed: Pattern for the names of the parameters with weight decay, with ``*`` as a wildcard.
        crop_padding: Random crops after zero padding by this many pixels (0: none).
        flip: Whether half of the images are mirrored.
        iterations: Optimiser steps in total, for any number of images; 0 if `epochs` is set.
        turn: Steps before the learning rate falls (inverse only).
        optimiser: ``"sgd"``, or ``"adam"`` with PyTorch's other defaults and without `momentum`.
        final_rate: Learning rate at the end (cosine only).
        warm_steps: Optimiser steps in which fixed points are those of `FixedPoint.warm`.
        source: Source of the settings.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Schedule
    source: str
    milestones: tuple[int, ...] = ()
    drop: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decayed: str = "*"
    crop_padding: int = 4
    flip: bool = True
    iterations: int = 0
    turn: int = 0
    optimiser: Literal["sgd", "adam"] = "sgd"
    final_rate: float = 0.0
    warm_steps: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        """All settings by name; the last three only where they are set, as in the records from before there were any.

        Examples:
            >>> RECIPES["mdeq-cifar"].facts["optimiser"], "optimiser" in RECIPES["sdnet-cifar"].facts
            ('adam', False)
        """
        unset = {it.name: it.default for it in fields(self) if it.name in ("optimiser", "final_rate", "warm_steps")}
        return {name: it for name, it in asdict(self).items() if name not in unset or it != unset[name]}

    def steps(self, per_epoch: int) -> int:
        """Returns the total number of optimiser steps if an epoch has `per_epoch`."""
        return self.iterations or self.epochs * per_epoch

    def length(self, per_epoch: int) -> int:
        """Returns the number of epochs, of which the last may be shorter."""
        return ceil(self.steps(per_epoch) / per_epoch)

    def rate_at(self, epoch: float, per_epoch: int = 1) -> float:
        """Returns the learning rate at a (fractional) epoch in ``[0, epochs]``.

        Args:
            epoch: Epochs since the start.
            per_epoch: Steps per epoch, for ``"inverse"``: the rate is scaled by ``min(1, turn / t)`` at step t, from 1.
        """
        if self.schedule == "inverse":
            return self.learning_rate * min(1.0, self.turn / (epoch * per_epoch + 1))
        if self.schedule == "cosine":
            return self.final_rate + (self.learning_rate - self.final_rate) * (1 + cos(pi * epoch / self.epochs)) / 2
        if self.schedule == "steps":
            return self.learning_rate * self.drop ** sum(epoch >= milestone for milestone in self.milestones)
        peak = self.epochs / 4
        rising = epoch / peak
        falling = (self.epochs - epoch) / (self.epochs - peak)
        return self.learning_rate * max(0.0, min(rising, falling))


#: Algorithm 1 averages the gradient over the mini-batch; nu_1 is on W only, nu_2 on the features is 0.
_TDDL = Recipe(
    epochs=0,
    iterations=40_000,
    batch_size=100,
    learning_rate=0.05,
    schedule="inverse",
    turn=4_000,
    momentum=0.0,
    nesterov=False,
    weight_decay=0.1,
    decayed="*.head.weight",
    crop_padding=0,
    flip=False,
    source="TDDL-CNN (Tirer and Giryes, EUSIPCO 2018), section IV, all training images",
)

_MDEQ = Recipe(
    epochs=220,
    batch_size=128,
    learning_rate=1e-3,
    schedule="cosine",
    optimiser="adam",
    final_rate=1e-6,
    warm_steps=20_000,
    weight_decay=0.0,
    source="MDEQ (Bai et al., NeurIPS 2020), the authors' settings of the large network for CIFAR-10",
)

RECIPES: dict[str, Recipe] = {
    "sdnet-cifar": Recipe(
        epochs=220,
        batch_size=128,
        learning_rate=0.1,
        schedule="cosine",
        source="SDNet (Dai et al., NeurIPS 2022), section 4, CIFAR-10 and CIFAR-100",
    ),
    # The paper gives no weight decay. Its authors' file, which has one, has no Nesterov momentum; the paper has.
    "sdnet-imagenet": Recipe(
        epochs=100,
        batch_size=512,
        learning_rate=0.1,
        schedule="steps",
        milestones=(30, 60, 90),
        weight_decay=1e-4,
        crop_padding=0,
        source="SDNet (Dai et al., NeurIPS 2022), section 4, ImageNet (weight decay not given: the authors' code)",
    ),
    # The drop at the "200-th" epoch is the end of training. Weight decay and momentum apply to all parameters, also to
    # W~, h and b: the paper makes no exception. Wide Residual Networks have these settings with Nesterov's momentum.
    "detrame-cifar": Recipe(
        epochs=200,
        batch_size=128,
        learning_rate=0.1,
        schedule="steps",
        milestones=(60, 120, 160),
        drop=0.2,
        source="DeTraMe-Net (Tang et al., arXiv:2002.07898), section 5.2, CIFAR-10 and CIFAR-100",
    ),
    "detrame-svhn": Recipe(
        epochs=160,
        batch_size=128,
        learning_rate=0.01,
        schedule="steps",
        milestones=(80, 120),
        crop_padding=0,
        flip=False,
        source="DeTraMe-Net (Tang et al., arXiv:2002.07898), section 5.2, SVHN",
    ),
    # Neither gives a weight decay: 5e-4 as for SDNet. Their translations are the usual crops after padding by 4.
    "res-csc-cifar": Recipe(
        epochs=200,
        batch_size=128,
        learning_rate=0.1,
        schedule="steps",
        milestones=(100, 150),
        source="Res-CSC (Zhang and Zhang), section VII-A, CIFAR-10 and CIFAR-100 (weight decay not given: 5e-4)",
    ),
    "msd-csc-cifar": Recipe(
        epochs=150,
        batch_size=128,
        learning_rate=0.05,
        schedule="steps",
        milestones=(75, 115),
        nesterov=False,
        source="MSD-CSC (Zhang and Zhang), section VII-B, CIFAR-10 and CIFAR-100 (weight decay not given: 5e-4)",
    ),
    # Momenta of batch normalisation are moved by 0.1 a batch, and lambda is decayed like the weights, as there.
    "scn-cifar": Recipe(
        epochs=200,
        batch_size=128,
        learning_rate=0.1,
        schedule="steps",
        milestones=(80, 160),
        nesterov=False,
        source="SCN (Sun et al., ICIP 2018), released code, CIFAR-10 and CIFAR-100",
    ),
    "cpu": Recipe(
        epochs=16,
        batch_size=128,
        learning_rate=0.2,
        schedule="onecycle",
        source="ours: a short one-cycle recipe for two CPU cores",
    ),
    "digits": Recipe(
        epochs=20,
        batch_size=64,
        learning_rate=0.2,
        schedule="onecycle",
        crop_padding=1,
        flip=False,
        source="ours: some seconds on one CPU core",
    ),
    "textures": Recipe(
        epochs=8,
        batch_size=64,
        learning_rate=0.2,
        schedule="onecycle",
        crop_padding=0,  # an image has no border, and a mirrored atom is another one
        flip=False,
        source="ours: some seconds on one CPU core",
    ),
    "tddl-60k": _TDDL,
    "tddl-1k": replace(
        _TDDL, iterations=1_000, source="TDDL-CNN (Tirer and Giryes, EUSIPCO 2018), section IV, 1,000 training images"
    ),
    "mnist-cnn": Recipe(
        epochs=20,
        batch_size=100,
        learning_rate=0.001,
        schedule="steps",
        nesterov=False,
        crop_padding=0,
        flip=False,
        source="MatConvNet's MNIST example (Vedaldi and Lenc, ACM MM 2015), as TDDL-CNN (EUSIPCO 2018) uses it",
    ),
    "mdeq-cifar": _MDEQ,
    "mdeq-tiny": replace(
        _MDEQ,
        epochs=50,
        warm_steps=3_000,
        weight_decay=2.5e-6,
        crop_padding=0,
        flip=False,
        source="MDEQ (Bai et al., NeurIPS 2020), the authors' settings of the small network for CIFAR-10",
    ),
    "mdeq-digits": replace(
        _MDEQ,
        epochs=8,
        batch_size=64,
        learning_rate=2e-3,
        warm_steps=60,
        crop_padding=0,
        flip=False,
        source="ours: two minutes on one CPU core",
    ),
}

#: From this number of training images on, task-driven models get the longer of their recipes.
_MANY_IMAGES = 10_000


def default_recipe(model: str, data: str, device: str, images: int) -> str:
    """Returns the recipe of a model on a data set, on ``"cpu"`` or ``"cuda"`` and by the number of training images."""
    if model.startswith("tddl-"):
        return "tddl-60k" if images >= _MANY_IMAGES else "tddl-1k"
    if model == "mnist-cnn":
        return "mnist-cnn"
    if model.startswith("mdeq"):
        return (
            "mdeq-digits" if data in ("digits", "textures") else "mdeq-tiny" if model == "mdeq-tiny" else "mdeq-cifar"
        )
    if data in ("digits", "textures"):
        return data
    if device != "cuda":
        return "cpu"
    return "scn-cifar" if model in ("scn", "scn-k1") else "sdnet-cifar"


def adapted_recipe(name: str, epochs: int | None = None, learning_rate: float | None = None) -> Recipe:
    """Returns a recipe, stretched or shortened to another number of epochs and with another learning rate if given.

    Raises:
        UnknownNameError: There is no such recipe.
        RobustCSCError: There are no epochs, or the learning rate is no number above 0.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    recipe = RECIPES[name]
    if epochs is not None:
        if epochs < 1:
            raise RobustCSCError(f"--epochs {epochs}: a training has at least one epoch.")
        stretch = epochs / recipe.epochs if recipe.epochs else 1
        milestones = tuple(round(milestone * stretch) for milestone in recipe.milestones)
        warm_steps = round(recipe.warm_steps * stretch)
        recipe = replace(recipe, epochs=epochs, iterations=0, milestones=milestones, warm_steps=warm_steps)
    if learning_rate is not None:
        if not 0 < learning_rate < float("inf"):
            raise RobustCSCError(f"--learning-rate {learning_rate:g}: a learning rate is a number above 0, like 0.1.")
        recipe = replace(recipe, learning_rate=learning_rate)
    return recipe
