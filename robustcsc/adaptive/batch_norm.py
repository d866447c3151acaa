"""Batch normalisation at test time: with the statistics of the test batch, and with parameters that lower the entropy.

Sources: Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS
2020, section 3; Wang et al., "Tent: Fully test-time adaptation by entropy minimization", ICLR 2021, section 3.

Differences from the authors' code of Tent: dropout stays off. As there, the answer for a batch is that of the forward
pass before its last step, so that with one step an episode changes nothing, and the first batch gets batch statistics
only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustcsc.layers.tracing import traced
from robustcsc.measurements.adaptations import Tent


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Returns the layers of batch normalisation with stored statistics."""
    return [it for it in model.modules() if isinstance(it, _BatchNorm) and it.running_mean is not None]


@contextmanager
def batch_statistics(model: nn.Module, prior: int = 0) -> Iterator[None]:
    """Normalises with the statistics of each batch within the block; gradients flow through them.

    With stored statistics m and v, those of a batch of n images mixed in are ``N/(N+n) m + n/(N+n) mean`` and the same
    for the variance (not Bessel-corrected), with N = `prior`. The layers are put back exactly, whatever is raised.
    """
    stored = {layer: (layer.running_mean, layer.running_var) for layer in batch_norms(model)}

    def normalised(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        assert isinstance(layer, _BatchNorm)
        mean, variance = stored[layer]
        assert mean is not None and variance is not None
        seen = inputs[0].to(mean.dtype)
        share = len(seen) / (prior + len(seen))
        batch_variance, batch_mean = torch.var_mean(seen, [at for at in range(seen.ndim) if at != 1], correction=0)
        scale = variance.lerp(batch_variance, share).add(layer.eps).rsqrt()
        shift = -mean.lerp(batch_mean, share) * scale
        shape = (-1, *[1] * (seen.ndim - 2))
        return (torch.addcmul(shift.view(shape), seen, scale.view(shape)),)

    try:
        for layer, (mean, variance) in stored.items():
            assert mean is not None and variance is not None
            # The layer itself, which may be one that does more, then only multiplies and adds its parameters.
            with torch.inference_mode(False):  # Tent differentiates
                layer.running_mean = torch.zeros_like(mean)
                layer.running_var = torch.full_like(variance, 1 - layer.eps)
        with traced(stored, before=normalised):
            yield
    finally:
        for layer, (mean, variance) in stored.items():
            layer.running_mean, layer.running_var = mean, variance


def entropy(logits: Tensor) -> Tensor:
    """Returns the entropy of each answer in nats, ``(N,)``."""
    probabilities = logits.log_softmax(dim=1)
    return -(probabilities.exp() * probabilities).sum(dim=1)


class EntropyMinimiser:
    """Tent on the batches of one stream: what a batch taught stays for the next one, unless it is episodic.

    The model keeps its own parameters: copies take their place while it answers.

    Args:
        model: What is adapted.
        settings: How.
    """

    def __init__(self, model: nn.Module, settings: Tent) -> None:
        self._model, self._settings = model, settings
        self._begin()

    def _begin(self) -> None:
        own = [(layer, name, it) for layer in batch_norms(self._model) for name, it in layer.named_parameters()]
        with torch.inference_mode(False):
            self._affine = [(layer, name, nn.Parameter(it.detach().clone())) for layer, name, it in own]
        self._optimizer = torch.optim.Adam([it for *_, it in self._affine], lr=self._settings.learning_rate)

    def __call__(self, classify: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Returns the logits of a batch, and learns from it; gradients to the images hold the parameters fixed."""
        if self._settings.episodic:
            self._begin()
        attacked = torch.is_grad_enabled() and images.requires_grad
        with torch.inference_mode(False), torch.enable_grad(), self._in_place():
            seen = images.clone() if images.is_inference() else images
            for step in range(self._settings.steps):
                logits = classify(seen)
                if self._settings.episodic and step + 1 == self._settings.steps:
                    break  # nobody would see what it teaches
                parameters = [it for *_, it in self._affine]
                gradients = torch.autograd.grad(entropy(logits).mean(), parameters, allow_unused=True)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
                self._optimizer.step()
        return logits if attacked else logits.detach()

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Puts the copies in the place of the model's parameters within the block."""
        own = [(layer, name, layer._parameters[name]) for layer, name, _ in self._affine]
        try:
            for layer, name, copy in self._affine:
                layer._parameters[name] = copy
            yield
        finally:
            for layer, name, parameter in own:
                layer._parameters[name] = parameter
