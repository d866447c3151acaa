"""A model that is about to be measured."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import nn

import robustcsc
from robustcsc.data import ImageSet
from robustcsc.evaluation.plan import ModelFacts
from robustcsc.layers.lambdas import lambda_layers
from robustcsc.layers.logits import ChosenLogits
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import Doubt, Subject
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.models.guests import memory_format_of
from robustcsc.runs import Run


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in memory with its facts.

    Attributes:
        subject: Its name and weights.
        model: Images in [0, 1] to logits.
        device: Where it is evaluated.
        fits, given_fits: As in `ModelFacts`.
        doubts: What was seen when it was tried, for its records.
    """

    subject: Subject
    model: nn.Module
    device: torch.device
    fits: Mapping[str, LambdaFit] = field(default_factory=dict)
    given_fits: tuple[LambdaFit, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    @classmethod
    def of(cls, run: Run, checkpoint: Checkpoint, device: torch.device) -> LoadedModel:
        """Returns the model of a run, moved to `device`, with those fits that belong to its weights."""
        fits = {name: LambdaFit.load(path) for name, path in run.fit_paths.items()}
        return cls(
            subject=Subject(run=run.name, model=checkpoint.spec.name, weights=checkpoint.weights),
            model=checkpoint.model.to(device).to(memory_format=memory_format_of(checkpoint.model)),
            device=device,
            fits={name: fit for name, fit in fits.items() if fit.weights == checkpoint.weights},
        )

    def answering(self, images: ImageSet) -> LoadedModel:
        """Returns the model with those logits only that answers about the images are chosen from."""
        if not images.logits:
            return self
        chosen = torch.tensor(images.logits, device=self.device)
        return replace(self, model=ChosenLogits(self.model, chosen))

    @cached_property
    def facts(self) -> ModelFacts:
        """What a plan needs to know of the model."""
        lambdas = sorted({layer.lam0 for layer in lambda_layers(self.model).values()})
        return ModelFacts(
            subject=self.subject, training_lambdas=tuple(lambdas), fits=self.fits, given_fits=self.given_fits
        )


def device_words(device: torch.device) -> str:
    """Returns the name of the GPU, or the processor's architecture and PyTorch's vector extension."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def versions() -> dict[str, str]:
    """Returns the versions that can change bits, by package."""
    return {"robustcsc": robustcsc.__version__, "torch": str(torch.__version__), "python": platform.python_version()}
