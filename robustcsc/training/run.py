"""Training a model from fresh weights into a run folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from robustcsc.data import ImageSet, hold_out
from robustcsc.errors import RobustCSCError
from robustcsc.models import checkpoint
from robustcsc.models.catalog import ModelSpec, build
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.progress import Progress, silent
from robustcsc.runs import Run
from robustcsc.training.adversarial import AdversarialTraining
from robustcsc.training.batches import Augmentation
from robustcsc.training.initialise import initialise
from robustcsc.training.loop import Epoch, train
from robustcsc.training.parts import balanced_subset
from robustcsc.training.processes import PATIENCE, Processes
from robustcsc.training.recipes import Recipe

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Device and precision of a training.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        processes: How many train together, one per device.
        precision: ``"32-true"``, or ``"bf16-mixed"`` for bfloat16 autocast.
        compile: Whether the model is compiled with ``torch.compile``.
    """

    device: str = "cpu"
    processes: Processes = field(default_factory=Processes)
    precision: Precision = "32-true"
    compile: bool = False

    def fabric(self) -> Fabric:
        """Returns the launched Fabric of this hardware; the first call starts the other processes.

        Raises:
            RobustCSCError: There are fewer devices, or processes cannot be started from a notebook.
        """
        its = self.processes
        its.check_room(self.device)
        if its.here * its.machines == 1:
            fabric = Fabric(accelerator=self.device, devices=1, precision=self.precision)
        else:
            if hasattr(sys, "ps1"):
                raise RobustCSCError(
                    "Several processes cannot be started from a notebook: type robustcsc train --devices N in a shell."
                )
            environment = TorchElasticEnvironment() if its.torchrun else LightningEnvironment()
            strategy = DDPStrategy(cluster_environment=environment, timeout=PATIENCE)
            fabric = Fabric(
                accelerator=self.device,
                devices=its.here,
                num_nodes=its.machines,
                strategy=strategy,
                precision=self.precision,
            )
        fabric.launch()
        return fabric

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint records."""
        its = self.processes
        return {
            "device": self.device,
            "devices": its.here * its.machines,
            "precision": self.precision,
            "compile": self.compile,
        }


# Each parameter is an option of `robustcsc train`, recorded in the checkpoint by its name.
def train_run(
    run: Run,
    spec: ModelSpec,
    images: ImageSet,
    recipe: Recipe,
    *,
    data: str,
    heldout_fraction: float = 0.1,
    train_images: int | None = None,
    seed: int = 0,
    augment: Augmentation = "none",
    adversarial: AdversarialTraining | None = None,
    hardware: Hardware | None = None,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    progress: Progress = silent,
) -> Checkpoint:
    """Trains a model from fresh weights, writes ``weights.safetensors`` into the run and returns the checkpoint.

    Of several processes the first one writes, and the others return a checkpoint without fingerprints.

    A part of the training images is held out for the lambda fit, which needs images that the model has not seen.

    Args:
        run: The run folder.
        spec: The model.
        images: The whole training split.
        recipe: The settings.
        data: Name under which `images` were loaded, recorded so that later commands find them.
        heldout_fraction: Share of each class that is held out; 0 holds out nothing.
        train_images: Number of the other images to train on, chosen by `balanced_subset`; by default all.
        seed: Seed of initial weights, order, augmentation, held-out part and subset.
        augment: As in `loop.train`.
        adversarial: As in `loop.train`.
        hardware: Device and precision; one CPU process if ``None``.
        resume: Whether to resume an interrupted training.
        on_epoch: Called after each epoch.
        progress: Called after each batch.

    Raises:
        RobustCSCError: If the images are not of the training split, or the loss is not finite.
        CheckpointError: If the state to resume from was written with other settings.
        DataError: If the images are too few for the held-out part, the subset or the model.
    """
    if images.split != "train":
        raise RobustCSCError(f"Models are trained on the training split, not on {images.split!r}.")
    hardware = hardware or Hardware()
    fabric = hardware.fabric()
    first = fabric.global_rank == 0
    fingerprint = images.fingerprint if first else ""  # decodes the whole set once, of which the parts are then taken
    seen = images
    heldout: dict[str, object] = {"fraction": heldout_fraction, "seed": seed}
    if heldout_fraction > 0:
        seen, held = hold_out(images, heldout_fraction, seed)
        heldout["fingerprint"] = held.fingerprint if first else ""
    subset: dict[str, object] | None = None
    if train_images is not None:
        seen = balanced_subset(seen, train_images, seed)
        subset = {"images": len(seen), "fingerprint": seen.fingerprint if first else ""}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(spec)
    if not (resume and run.training_path.exists()):
        initialise(model, seen, nu=recipe.weight_decay, seed=seed, progress=progress)
    if hardware.compile:
        model.compile()
    history = train(
        model,
        seen,
        recipe,
        fabric=fabric,
        seed=seed,
        augment=augment,
        adversarial=adversarial,
        state_path=run.training_path,
        resume=resume,
        on_epoch=on_epoch,
        progress=progress,
    )
    facts = {
        "data": data,
        "root": images.location.root or None,
        "class_order": images.location.class_order,
        "images": fingerprint,
        "heldout": heldout,
        "subset": subset,
        "recipe": recipe.facts,
        "seed": seed,
        "augment": augment,
        "adversarial": asdict(adversarial) if adversarial else None,
        "hardware": hardware.facts,
        "final_epoch": asdict(history[-1]),
        "trained_on": len(seen),
        "seconds": sum(epoch.seconds for epoch in history),
    }
    if first:
        checkpoint.save(run.weights_path, spec, model, facts)
    fabric.barrier()
    if not first:  # the file may be on another machine
        return Checkpoint(spec=spec, model=model, weights=checkpoint.weights_hash(model, spec), training=facts)
    return checkpoint.load(run.weights_path, trusted=spec.name)
