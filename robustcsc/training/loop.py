"""The training loop: projected SGD (or Adam) on the cross-entropy, which can be resumed after every epoch.

Source: SDNet (Dai et al., NeurIPS 2022), eq. 5 and section 3.2: SGD on all parameters, followed by the projection of
every dictionary onto unit-norm atoms after each step.

Differences from the paper: the training accuracy is that of the augmented images, in training mode. The weights are
those of the last epoch, never of the epoch that is best on test images.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from robustcsc.attacks.guard import seeded
from robustcsc.data import ImageSet
from robustcsc.errors import CheckpointError, ModelError, RobustCSCError, error_words
from robustcsc.files import write_whole
from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.fixed_point import set_warm
from robustcsc.layers.logits import checked_logits
from robustcsc.measurements.facts import from_plain
from robustcsc.models.guests import memory_format_of
from robustcsc.progress import Progress, parts, silent
from robustcsc.training.adversarial import AdversarialTraining
from robustcsc.training.batch_norm import share_batch_norm
from robustcsc.training.batches import Augmentation, Batches
from robustcsc.training.recipes import Recipe

#: The first bytes of what `torch.save` writes.
_ARCHIVE = b"PK\x03\x04"


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch: its number (from 1), mean loss, share of correct training images, seconds."""

    number: int
    loss: float
    accuracy: float
    seconds: float


# Settings that a checkpoint records one by one, and the callbacks of a long training.
def train(
    model: nn.Module,
    images: ImageSet,
    recipe: Recipe,
    *,
    fabric: Fabric,
    seed: int = 0,
    augment: Augmentation = "none",
    adversarial: AdversarialTraining | None = None,
    state_path: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    progress: Progress = silent,
) -> list[Epoch]:
    """Trains `model` in place and returns the result of each epoch.

    With the same seed on the same CPU and the same number of threads the result has the same bits, even if training was
    interrupted and resumed: everything random is drawn from (seed, epoch). On a GPU it is the same except for the order
    in which cuDNN adds.

    Several processes divide each batch of the recipe: images, their order and augmentation, statistics of batch
    normalisation and the mean loss are those of one process, so that weights differ by rounding only. What is drawn
    inside a model (dropout) and the random starts of an attack are drawn anew for each process.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits; constrained parameters are projected after each step.
        images: Training images. Sets in memory are moved to the device; others are streamed.
        recipe: The settings.
        fabric: Device, precision and processes.
        seed: Seed of order and augmentation.
        augment: ``"gaussian"`` adds noise of a random strength to half of the images of each batch.
        adversarial: Attack on the (augmented) images of each batch; loss and accuracy are then those of attacked
            images.
        state_path: File for the training state, written after each epoch; ``None`` writes none.
        resume: Whether to resume from `state_path` if it exists.
        on_epoch: Called after each epoch, in the first process only.
        progress: Called after each batch, in the first process only.

    Raises:
        RobustCSCError: If the loss becomes infinite or not a number, or processes have different images, or none.
        ModelError: If the model does not return one logit per image and class, or has no gradient.
        CheckpointError: If `state_path` was written with other settings.
    """
    device, first = fabric.device, fabric.global_rank == 0
    signature = _signature(model, images, recipe, seed, augment, adversarial, fabric) if first else ""
    batches = Batches(images, recipe, seed, augment, fabric)
    model.to(device).to(memory_format=memory_format_of(model))
    optimizer = _optimizer(model, recipe)
    history: list[Epoch] = []
    # The first process reads for all: the others may be on machines that do not see its file.
    kept = _kept(state_path, signature) if first and resume and state_path is not None else None
    if (kept := fabric.broadcast(kept)) is not None:
        history = _restore(state_path, kept, model, optimizer)
    if fabric.world_size > 1:
        model = share_batch_norm(model, device)
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    wrapped.train()
    epochs = recipe.length(batches.per_epoch)
    told = parts(progress, [1] * epochs)
    for epoch in range(len(history), epochs):
        started = time.perf_counter()
        loss_sum = torch.zeros((), device=device)
        correct = torch.zeros((), device=device, dtype=torch.int64)
        seen = torch.zeros((), device=device, dtype=torch.int64)
        for index, (inputs, labels) in enumerate(batches.of_epoch(epoch)):
            rate = recipe.rate_at(epoch + index / batches.per_epoch, batches.per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            set_warm(model, epoch * batches.per_epoch + index < recipe.warm_steps)
            if adversarial is not None:
                with fabric.autocast():
                    inputs = adversarial.attack(model, inputs, labels, seed=batches.seed_of(epoch, index))
            with seeded(batches.seed_of(epoch, index), device):  # dropout draws from torch's global generators
                logits = checked_logits(wrapped(inputs), len(labels))
            if not logits.requires_grad:
                raise ModelError("No gradient reaches the weights of the model: make it differentiable.")
            loss = F.cross_entropy(logits, labels)
            wrapped_optimizer.zero_grad()
            fabric.backward(batches.weighted(loss, labels))
            wrapped_optimizer.step()
            project_parameters(model)
            loss_sum += loss.detach() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
            seen += len(labels)
            if first:
                told[epoch](f"epoch {epoch + 1}/{epochs}", index + 1, batches.steps_in(epoch))
        total, right, images_seen = (batches.of_all(it).item() for it in (loss_sum, correct, seen))
        if not isfinite(total):
            raise RobustCSCError(f"The loss of epoch {epoch + 1} is not finite: lower --learning-rate.")
        history.append(Epoch(epoch + 1, total / images_seen, right / images_seen, time.perf_counter() - started))
        if first and state_path is not None:
            _keep(state_path, signature, model, optimizer, history)
        if first:
            on_epoch(history[-1])
    set_warm(model, False)
    model.eval()
    return history


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Returns the optimiser of a recipe, with weight decay on the parameters that it names."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[fnmatchcase(name, recipe.decayed)].append(parameter)
    settings: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": recipe.weight_decay if decayed else 0.0}
        for decayed, parameters in groups.items()
        if parameters
    ]
    if recipe.optimiser == "adam":
        return torch.optim.Adam(settings, lr=recipe.rate_at(0))
    return torch.optim.SGD(settings, lr=recipe.rate_at(0), momentum=recipe.momentum, nesterov=recipe.nesterov)


def _signature(
    model: nn.Module,
    images: ImageSet,
    recipe: Recipe,
    seed: int,
    augment: Augmentation,
    adversarial: AdversarialTraining | None,
    fabric: Fabric,
) -> str:
    shapes = [(name, list(tensor.shape)) for name, tensor in model.state_dict().items()]
    hardware = [fabric.device.type, 1, fabric.strategy.precision.precision]  # any number of processes may go on
    facts = [repr(model), shapes, images.fingerprint, recipe.facts, seed, augment, repr(adversarial), hardware]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _keep(path: Path, signature: str, model: nn.Module, optimizer: torch.optim.Optimizer, history: list[Epoch]) -> None:
    state: dict[str, Any] = {
        "signature": signature,
        "model": model.state_dict(),
        # Also buffers outside the state dict, such as the vector of the power iteration.
        "buffers": dict(model.named_buffers()),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(epoch) for epoch in history],
    }
    content = io.BytesIO()
    torch.save(state, content)
    # torch.save to a file would hide the OSError of a full disk, and torch.load checks no checksum of the archive.
    write_whole(path, hashlib.sha256(content.getvalue()).digest() + content.getvalue())


def _kept(path: Path, signature: str) -> bytes | None:
    """Returns the state that is kept, if any; raises CheckpointError if it is damaged, or of other settings."""
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
        if not content.startswith(_ARCHIVE):  # as in states of a time before there was a digest
            digest, content = content[:32], content[32:]
            if digest != hashlib.sha256(content).digest():
                raise ValueError("it is not what its SHA-256 says")
        told = _loaded(content)["signature"]
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read: delete it to train from the start.") from error
    if told != signature:
        raise CheckpointError(
            f"{path} belongs to a training run with another model, data, recipe or seed: "
            "use the same settings, or train without --resume."
        )
    return content


def _loaded(content: bytes) -> dict[str, Any]:
    # To the host, where Adam counts its steps; the rest goes to the places of the parameters.
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def _restore(path: Path | None, content: bytes, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Epoch]:
    """Sets model and optimiser to a kept state, and returns the history; raises CheckpointError."""
    try:
        state = _loaded(content)
        model.load_state_dict(state["model"])
        buffers = dict(model.named_buffers())
        for name, value in state["buffers"].items():
            buffers[name].copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        history = from_plain(state["history"], list[Epoch])
        if [epoch.number for epoch in history] != list(range(1, len(history) + 1)):
            raise ValueError("its epochs do not follow each other")
        if not all(map(_finite, (*model.state_dict().values(), *_tensors(optimizer.state_dict()["state"])))):
            raise ValueError("it holds numbers that are not finite")
    except Exception as error:
        raise CheckpointError(
            f"{path} was damaged or edited ({error_words(error)}): delete it to train from the start."
        ) from error
    return history


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _tensors(states: dict[int, dict[str, Any]]) -> Iterator[Tensor]:
    """Yields what an optimiser keeps of its parameters."""
    yield from (value for state in states.values() for value in state.values() if isinstance(value, Tensor))
