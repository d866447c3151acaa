"""A model that is about to be measured."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import nn

import robustcsc
from robustcsc.adaptive.adapters import Adapter
from robustcsc.adaptive.batch_norm import batch_norms
from robustcsc.adaptive.denoise import denoiser_versions
from robustcsc.data import ImageSet
from robustcsc.evaluation.plan import ModelFacts
from robustcsc.layers.lambdas import lambda_layers
from robustcsc.layers.logits import ChosenLogits
from robustcsc.layers.precision import Bfloat16, rounds_to_tf32
from robustcsc.measurements.adaptations import Adaptation, Denoise
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.policies import Adapted, Policy
from robustcsc.measurements.provenance import Doubt, Provenance
from robustcsc.measurements.records import Precision, Subject
from robustcsc.measurements.references import Reference
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
        precision: What it computes in.
        fits, given_fits, test_time: As in `ModelFacts`.
        reference: What it makes of clean images, as far as its run knows.
        doubts: What was seen when it was tried, for its records.
    """

    subject: Subject
    model: nn.Module
    device: torch.device
    precision: Precision = "fp32"
    fits: Mapping[str, LambdaFit] = field(default_factory=dict)
    given_fits: tuple[LambdaFit, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    test_time: tuple[Adaptation | None, ...] = (None,)
    reference: Reference | None = None

    @classmethod
    def of(cls, run: Run, checkpoint: Checkpoint, device: torch.device, precision: Precision = "fp32") -> LoadedModel:
        """Returns the model of a run, on `device`, with those fits that belong to its weights and the precision."""
        fits = {name: LambdaFit.load(path) for name, path in run.fit_paths(precision).items()}
        reference = Reference.load(run.folder, precision)
        model = checkpoint.model.to(device).to(memory_format=memory_format_of(checkpoint.model))
        return cls(
            subject=Subject(run=run.name, model=checkpoint.spec.name, weights=checkpoint.weights),
            model=model if precision == "fp32" else Bfloat16(model),
            device=device,
            precision=precision,
            fits={name: fit for name, fit in fits.items() if fit.weights == checkpoint.weights},
            reference=reference if reference and reference.weights == checkpoint.weights else None,
        )

    def on(self, device: torch.device) -> LoadedModel:
        """Returns the model on a device, to which it is moved."""
        return replace(self, model=self.model.to(device), device=device)

    def adapter(self, policy: Policy) -> Adapter:
        """Returns what else a policy does at test time, for one stream of batches.

        Raises:
            PolicyError: As for `Adapter.of`.
        """
        return Adapter.of(self.model, policy.by if isinstance(policy, Adapted) else None, self.reference)

    def answering(self, images: ImageSet) -> LoadedModel:
        """Returns the model with those logits only that answers about the images are chosen from."""
        if not images.logits:
            return self
        chosen = torch.tensor(images.logits, device=self.device)
        return replace(self, model=ChosenLogits(self.model, chosen))

    @cached_property
    def facts(self) -> ModelFacts:
        """What a plan needs to know of the model."""
        lambdas = [layer.lam0 for layer in lambda_layers(self.model).values()]
        return ModelFacts(
            subject=self.subject,
            precision=self.precision,
            training_lambdas=tuple(lambdas),
            fits=self.fits,
            given_fits=self.given_fits,
            has_batch_norm=bool(batch_norms(self.model)),
            test_time=self.test_time,
            reference=self.reference.digest if self.reference else "",
        )


def provenance(loaded: LoadedModel, seconds: float, policy: Policy | None = None) -> Provenance:
    """Returns how counts of this moment come about; `seconds` is the time that they took, under a policy."""
    denoises = isinstance(policy, Adapted) and isinstance(policy.by, Denoise)
    on_gpu = loaded.device.type == "cuda"
    return Provenance(
        device=device_words(loaded.device),
        versions=versions() | (denoiser_versions() if denoises else {}),
        driver=driver_version() if on_gpu else "",
        tf32=rounds_to_tf32() if on_gpu else None,
        seconds=round(seconds, 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        doubts=loaded.doubts,
    )


@cache
def driver_version(file: Path = Path("/proc/driver/nvidia/version")) -> str:
    """Returns the version of the NVIDIA driver, ``""`` where Linux does not tell it."""
    try:
        found = re.search(r"\d+(\.\d+)+", file.read_text())
    except OSError:
        return ""
    return found[0] if found else ""


def device_words(device: torch.device) -> str:
    """Returns the name of the GPU, or the processor's architecture and PyTorch's vector extension."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def versions() -> dict[str, str]:
    """Returns the versions that can change bits, by package."""
    return {"robustcsc": robustcsc.__version__, "torch": str(torch.__version__), "python": platform.python_version()}
