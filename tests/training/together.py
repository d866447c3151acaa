"""One of several processes that train together; what each scenario gave goes to a file.

Started as torchrun starts it, with the folder of that file as argument.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustcsc.data import MemoryImages, load
from robustcsc.models.catalog import build, default_spec
from robustcsc.training.batches import Augmentation
from robustcsc.training.log import quiet_fabric
from robustcsc.training.loop import train
from robustcsc.training.processes import Processes, together
from robustcsc.training.recipes import RECIPES
from robustcsc.training.run import Hardware

SPARSE, FIXED_POINT = ("sdnet-digits", {"atoms": 8}), ("mdeq-digits", {"num_steps": 3, "backward_steps": 3})
#: What is trained: the model with its options, what differs from the recipe for digits, and the augmentation.
SCENARIOS: dict[str, tuple[tuple[str, dict[str, Any]], dict[str, Any], Augmentation]] = {
    "batch norm and sparse codes": (SPARSE, {}, "none"),
    "noise": (SPARSE, {}, "gaussian"),
    "uneven shares": (SPARSE, {"batch_size": 33}, "none"),
    "fixed point": (FIXED_POINT, {"optimiser": "adam", "learning_rate": 1e-3, "warm_steps": 3}, "none"),
    "fewer images than a batch": (SPARSE, {"batch_size": 512}, "none"),
}
EPOCHS, IMAGES = 2, 200


class InDouble(nn.Module):
    """A model in double precision: what rounding does to ReLUs near 0 does not hide what is wrong."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.double()

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits."""
        logits: Tensor = self.model(images.double())
        return logits


def outcome(name: str, hardware: Hardware) -> dict[str, Any]:
    """Returns weights, buffers and history of a scenario."""
    (model_name, options), changes, augment = SCENARIOS[name]
    images = load("digits", split="train")
    assert isinstance(images, MemoryImages)
    images = images.subset(torch.arange(IMAGES))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = InDouble(build(default_spec(model_name, 10, (1, 8, 8), options=options)))
    recipe = replace(RECIPES["digits"], epochs=EPOCHS, **changes)
    history = train(model, images, recipe, fabric=hardware.fabric(), augment=augment)
    return {
        "weights": dict(model.state_dict()),
        "history": [(it.number, it.loss, it.accuracy) for it in history],
    }


if __name__ == "__main__":
    quiet_fabric()
    torch.set_num_threads(1)
    hardware = Hardware(processes=Processes.asked(None))
    fabric = hardware.fabric()
    with together(fabric):
        found = {name: outcome(name, hardware) for name in SCENARIOS}
        torch.save(found, Path(sys.argv[1]) / f"{fabric.global_rank}.pt")
