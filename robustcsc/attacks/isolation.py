"""Context managers that restore the global random state and the gradient mode after an attack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's global generators of the CPU and of `device` within the block, then restores their states.

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
    """Records gradients within the block, even if the caller has turned them off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
