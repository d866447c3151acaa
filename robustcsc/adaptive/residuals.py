"""The residual of the CSC layers at the training lambda: the measure of noise in SDNet Algorithm 1.

Source: SDNet (Dai et al., NeurIPS 2022), section 3.3.

Differences from the paper: the paper speaks of "the averaged residual from all CSC layers" and its magnitude. The
authors' code keeps a running mean of the squared sum of the first layer; their five published lambdas are linear in the
noise variance, which is what a squared residual measures. Here each call computes the residual anew, per image and
layer, in one of three definitions, and averages it over the layers.

What this package says of CSC layers holds for every `LambdaLayer`: the elastic-net code of a task-driven model has a
lambda and a residual, too. No paper has tried to adapt it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from robustcsc.errors import PolicyError
from robustcsc.layers.lambdas import LambdaLayer, lambda_layers
from robustcsc.layers.tracing import run_until_called
from robustcsc.measurements.fits import Definition

#: One lambda (a number or 0-d), one per image ``(N,)``, or one per image and layer ``(N, L)``. A tuple has one per
#: layer, each a number, 0-d or ``(N,)``. Layers are in the order of registration.
Lambda = Tensor | float | tuple[Tensor | float, ...]


def logits_at(model: nn.Module, images: Tensor, lam: Lambda) -> Tensor:
    """Returns ``model(images)`` with another lambda in all CSC layers; the model itself is not changed.

    Gradients flow through `lam`.

    Raises:
        PolicyError: If the model has no CSC layer, or another number of them than there are lambdas per layer.
    """
    layers = _layers(model)
    own = next(iter(layers.values())).lam

    def value(lam: Tensor | float) -> Tensor:
        if isinstance(lam, float | int):
            return own.new_full((), lam)  # a fill, not a copy from the host, for which a GPU would be waited for
        return torch.as_tensor(lam, dtype=own.dtype, device=own.device)

    if isinstance(lam, Tensor) and lam.ndim == 2:
        lam = lam.unbind(1)
    values = tuple(map(value, lam)) if isinstance(lam, tuple) else (value(lam),) * len(layers)
    if len(values) != len(layers):
        raise PolicyError(f"The model has {len(layers)} CSC layers, so it takes that many lambdas, not {len(values)}.")
    lambdas = {f"{name}.lam": each for name, each in zip(layers, values, strict=True)}
    logits: Tensor = functional_call(model, lambdas, (images,))
    return logits


def layer_residuals(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the squared residual and the squared norm of the input, per image and CSC layer, at the training lambda.

    These are ``||x_l - A_l z_l||^2`` and ``||x_l||^2``, both ``(N, L)``. Each CSC layer must be called once in a pass.
    The pass stops after the last of them: for a network whose only CSC layer is its first, this costs next to nothing.

    Raises:
        PolicyError: If the model has no CSC layer.
    """
    layers = _layers(model)
    residuals: list[Tensor] = []
    energies: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], codes: Tensor) -> None:
        assert isinstance(module, LambdaLayer)
        residuals.append(module.residual(inputs[0], codes))
        energies.append(inputs[0].to(residuals[-1].dtype).flatten(1).square().sum(1))

    training_lambdas = {f"{name}.lam": layer.lam.new_full((), layer.lam0) for name, layer in layers.items()}
    run_until_called(lambda: functional_call(model, training_lambdas, (images,)), layers.values(), note)
    return torch.stack(residuals, 1), torch.stack(energies, 1)


def residuals(model: nn.Module, images: Tensor) -> Tensor:
    """Returns ``||x_l - A_l z_l||_2^2`` per image and CSC layer at the training lambda, ``(N, L)``."""
    return layer_residuals(model, images)[0]


def mean_residual(squared: Tensor, energy: Tensor, definition: Definition) -> Tensor:
    """Returns the residual of each image in one definition, ``(N,)``, averaged over the CSC layers.

    `squared` and `energy` are those of `layer_residuals`.
    """
    tiny = torch.finfo(squared.dtype).tiny
    if definition == "norm":
        squared = squared.clamp_min(tiny).sqrt()
    elif definition == "relative":
        squared = squared / energy.clamp_min(tiny)
    return squared.mean(1)


def _layers(model: nn.Module) -> dict[str, LambdaLayer]:
    layers = lambda_layers(model)
    if not layers:
        raise PolicyError("This model has no CSC layer, so it has no lambda: use the policy 'none' or an SDNet.")
    return layers
