"""Who is measured, and under which lambda policies."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

import robustcsc
from robustcsc.adaptive.fit import multiples_of
from robustcsc.corruptions import NOISE_KERNELS
from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.layers.lambdas import lambda_layers
from robustcsc.measurements.fits import LambdaFit
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.runs import Run

#: Lambda policies by name, besides ``"fixed=VALUE"`` and ``"grid"`` (all values of the grid, for lambda curves).
POLICIES = {
    "none": "a model without CSC layers",
    "train": "the training lambda",
    "adaptive": "one lambda per data set, from its mean residual (Algorithm 1)",
    "adaptive-batch": "one lambda per batch, from its mean residual",
    "adaptive-image": "one lambda per image",
    "oracle": "the best lambda of the grid, chosen with the test labels",
}
#: Policies that read a lambda fit.
FITTED = ("adaptive", "adaptive-batch", "adaptive-image")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that is measured.

    Attributes:
        run: Name of its run folder.
        model_name: Its name in the catalog.
        weights: SHA-256 of its weights.
        model: Images in [0, 1] to logits.
        fits: Its lambda fits by noise family.
        device: Where it is evaluated.
    """

    run: str
    model_name: str
    weights: str
    model: nn.Module
    device: torch.device
    fits: Mapping[str, LambdaFit] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, checkpoint: Checkpoint, device: torch.device) -> Subject:
        """Returns the subject of a run: its checkpoint on `device`, and those fits that belong to its weights."""
        fits = {name: LambdaFit.load(path) for name, path in lambda_fits(run).items()}
        return cls(
            run=run.name,
            model_name=checkpoint.spec.name,
            weights=checkpoint.weights,
            model=checkpoint.model.to(device).to(memory_format=torch.channels_last),
            fits={name: fit for name, fit in fits.items() if fit.weights == checkpoint.weights},
            device=device,
        )

    @property
    def has_lambda(self) -> bool:
        """Whether the model has a CSC layer."""
        return bool(lambda_layers(self.model))

    @property
    def lam0(self) -> float | None:
        """The training lambda, ``None`` without CSC layers.

        Raises:
            PolicyError: If the layers were trained with different ones, which no policy can set.
        """
        found = sorted({layer.lam0 for layer in lambda_layers(self.model).values()})
        if len(found) > 1:
            raise PolicyError(
                f"The layers of {self.model_name} have different training lambdas ({found[0]:g} to {found[-1]:g}): "
                "policies set one lambda for all, so build it with one."
            )
        return found[0] if found else None

    @property
    def grid(self) -> tuple[float, ...]:
        """The lambdas that ``"grid"`` and ``"oracle"`` try: those that a lambda fit tries by default."""
        return multiples_of(self.lam0)

    def fit_for(self, corruption: str | None) -> LambdaFit:
        """Returns the fit of the corruption's noise family, else the pooled one, the Gaussian one, or any.

        Without a corruption (clean images, attacks) the noise is unknown: pooled, then Gaussian.

        Raises:
            PolicyError: If there is no such fit.
        """
        families = [family for family, kernel in NOISE_KERNELS.items() if kernel == corruption]
        for family in [*families, "pooled", "gaussian"]:
            if family in self.fits:
                return self.fits[family]
        self._require_fits()
        return next(iter(self.fits.values()))

    def _require_fits(self) -> None:
        if not self.fits:
            raise PolicyError(
                f"Run {self.run!r} has no lambda fit for its weights, which the adaptive policies need: "
                f"run `robustcsc fit-lambda --run {self.run}` first."
            )

    def policies(self, asked: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the policies to measure: those asked for, checked, or by default every sensible one.

        By default: ``none`` without CSC layers, else ``train``, and ``adaptive`` where the run has a fit.

        Raises:
            PolicyError: If a policy is unknown or needs what the model or run lacks.
        """
        if not self.has_lambda:
            if set(asked) - {"none", "train"}:
                raise PolicyError(
                    f"{self.model_name} has no CSC layer, so there is no lambda to choose: leave out --lambda."
                )
            return ("none",)
        if not asked:
            return ("train", "adaptive") if self.fits else ("train",)
        expanded: list[str] = []
        for policy in asked:
            expanded += [f"fixed={lam:g}" for lam in self.grid] if policy == "grid" else [_checked(policy)]
        if set(expanded) & set(FITTED):
            self._require_fits()
        return tuple(dict.fromkeys(expanded))


def lambda_fits(run: Run) -> dict[str, Path]:
    """Returns the files of the run's lambda fits by noise family."""
    return {name: run.fit_path(name) for name in (*NOISE_KERNELS, "pooled") if run.fit_path(name).is_file()}


def fixed_lambda(policy: str) -> float | None:
    """Returns the value of a policy ``"fixed=VALUE"``, else ``None``.

    Raises:
        PolicyError: If the value is not a number of at least 0.
    """
    name, _, value = policy.partition("=")
    if name != "fixed":
        return None
    try:
        lam = float(value)
    except ValueError:
        lam = -1.0
    if not 0 <= lam < float("inf"):
        raise PolicyError(f"{policy!r} is not a lambda: write fixed=0.5, for example.")
    return lam


def worst_lambdas(policy: str) -> tuple[float, ...]:
    """Returns the lambdas of a policy ``"worst=0.1,0.5"``, at all of which an image has to be right; else none."""
    name, _, values = policy.partition("=")
    return tuple(float(value) for value in values.split(",")) if name == "worst" else ()


def _checked(policy: str) -> str:
    lam = fixed_lambda(policy)
    if lam is not None:
        return f"fixed={lam:g}"
    if policy not in POLICIES or policy == "none":
        raise UnknownNameError("lambda policy", policy, [*list(POLICIES)[1:], "fixed=VALUE", "grid"])
    return policy


def device_words(device: torch.device) -> str:
    """Returns the name of the GPU, or the processor's architecture and PyTorch's vector extension."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def versions_words() -> str:
    """Returns the versions that can change bits."""
    return f"robustcsc {robustcsc.__version__}, torch {torch.__version__}, python {platform.python_version()}"
