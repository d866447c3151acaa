"""Looking at a model without leaving a trace: evaluation mode and random numbers that end with the block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts `model` into evaluation mode for the block; then every submodule gets back the mode it had."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's global generators of the CPU and of `device` for the block; then restores their states.

    Generators of other devices are neither read nor set.
    """
    accelerators = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(accelerators, device_type="cuda" if device.type == "cpu" else device.type):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def differentiating() -> Iterator[None]:
    """Records gradients within the block, also when the caller has turned them off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
