"""The CSC layer beside its textbook form, SDNet-20 beside its net with a plain stem, adaptive beside plain inference.

The textbook form is FISTA with PyTorch's convolutions, as it is printed, and PyTorch's derivatives. All run in
channels_last on one batch of random 32x32 images, as `benchmarks/throughput.py` does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from row import Row, Timing, Work, in_turn
from torch import Tensor, nn

from robustcsc.adaptive.policies import AdaptiveModel
from robustcsc.allocator import keep_freed_memory
from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.prox import nonnegative_soft_threshold
from robustcsc.layers.residual import conv
from robustcsc.layers.solvers import fista
from robustcsc.measurements.policies import Scope
from robustcsc.models.catalog import build, default_spec

sys.path.append(str(Path(__file__).parents[1]))
from throughput import fixed_fit

PART = "layers"
BATCH = 64
SHAPE = (3, 32, 32)


def rows() -> list[Row]:
    """Measures all rows; about a minute."""
    keep_freed_memory()
    torch.manual_seed(0)
    return [*layer_rows(), *network_rows(), *adaptive_rows()]


def images() -> Tensor:
    """Returns random images as a data set gives them."""
    return torch.rand(BATCH, *SHAPE).contiguous(memory_format=torch.channels_last)


def textbook(layer: CSCConv2d, signal: Tensor) -> Tensor:
    """Returns the codes of a layer by FISTA as it is printed (SDNet eq. 4-8), without the synthesis of 0."""
    weight, step_size, start = layer.dictionary.weight, layer.step_size, torch.zeros(())

    def gradient(codes: Tensor) -> Tensor:
        error = -signal if codes is start else F.conv_transpose2d(codes, weight, padding=1) - signal
        return F.conv2d(error, weight, padding=1)

    def prox(codes: Tensor) -> Tensor:
        return nonnegative_soft_threshold(codes, step_size * layer.lam)

    return fista(gradient, prox, start, step_size.item(), layer.num_steps)


def layer_rows() -> list[Row]:
    """The layer alone: codes, and codes with the gradients of its atoms, its images, or both."""
    layer, signal = CSCConv2d(3, 64, 3, 1, 1).to(memory_format=torch.channels_last), images()
    layer.dictionary.fit_image_size(SHAPE[1:])
    ours: Callable[[Tensor], Tensor] = layer
    forms = ours, lambda signal: textbook(layer, signal)
    with torch.no_grad():
        difference = (ours(signal) - forms[1](signal)).abs().max() / ours(signal).max()
        change = torch.randn_like(ours(signal))

    def codes(form: Callable[[Tensor], Tensor]) -> Work:
        return torch.no_grad()(lambda: form(signal))

    def gradients(form: Callable[[Tensor], Tensor], atoms: bool, pixels: bool) -> Work:
        def work() -> tuple[Tensor, ...]:
            signals = signal.detach().requires_grad_(pixels)
            wanted = [layer.dictionary.weight] * atoms + [signals] * pixels
            return torch.autograd.grad(form(signals), wanted, change)

        return work

    what, peer = (
        f"CSC layer 3 to 64 channels, 3x3, {BATCH} images of 32x32",
        f"textbook FISTA, torch {torch.__version__}",
    )
    found = [
        Row.timed(
            PART,
            f"{what}: codes",
            peer,
            in_turn(*map(codes, forms), 15),
            0.53,
            note=f"codes differ by {difference:.0e}",
        )
    ]
    for words, atoms, pixels in (("atoms", True, False), ("images", False, True), ("atoms and images", True, True)):
        works = [gradients(form, atoms, pixels) for form in forms]
        pairs = zip(*(work() for work in works), strict=True)
        error = max(float((a - b).norm() / b.norm()) for a, b in pairs)
        timing = in_turn(works[0], works[1], 15)
        note = f"gradients differ by {error:.0e} in norm"
        found.append(Row.timed(PART, f"{what}: codes and gradients of {words}", peer, timing, 0.67, note=note))
    return found


def network_rows() -> list[Row]:
    """SDNet-20 beside the same network with a plain convolution of 64 channels for its CSC layer."""
    network, plain = (build(default_spec("sdnet20", 10, SHAPE)).to(memory_format=torch.channels_last) for _ in range(2))
    names = [name for name, module in plain.named_modules() if isinstance(module, CSCConv2d)]
    parent, _, last = names[0].rpartition(".")
    setattr(plain.get_submodule(parent), last, conv(3, 64, 3, 1, 1).to(memory_format=torch.channels_last))
    signal, labels = images(), torch.randint(10, (BATCH,))

    def training(model: nn.Module) -> Work:
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

        def step() -> None:
            loss = F.cross_entropy(model(signal), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            project_parameters(model)

        return step

    what, peer = f"SDNet-20, {BATCH} images of 32x32", "its net with a plain stem"
    trained = Row.timed(PART, f"{what}: training step", peer, in_turn(training(network), training(plain)), 1.19)
    timing = in_turn(evaluation(network, signal), evaluation(plain, signal), 15)
    return [Row.timed(PART, f"{what}: evaluation", peer, timing, 1.11), trained]


def adaptive_rows() -> list[Row]:
    """A lambda for each batch or image beside the training lambda."""
    found = []
    for name, words, most in (("sdnet20", "SDNet-20", 1.2), ("sdnet18", "SDNet-18", 1.03)):
        model = build(default_spec(name, 10, SHAPE)).to(memory_format=torch.channels_last)
        signal = images()[: BATCH if name == "sdnet20" else BATCH // 8]
        for scope in (Scope.BATCH, Scope.IMAGE):
            policy = AdaptiveModel(model, fixed_fit(name), scope)
            timing: Timing = in_turn(evaluation(policy, signal), evaluation(model, signal))
            what = f"{words}, {len(signal)} images of 32x32: a lambda per {scope.value}"
            found.append(Row.timed(PART, what, "the training lambda", timing, most))
    return found


def evaluation(model: nn.Module, signal: Tensor) -> Work:
    """Returns a forward pass without gradients."""
    return torch.inference_mode()(lambda: model.eval()(signal))
