"""What all attacks share: protection of model and random state from side effects, and the worst case over restarts.

Workarounds for torchattacks 3.5.1, which every attack here except DeepFool uses:

- Calling an attack switches the whole model between training and evaluation mode, and does not switch back after an
  error. Here the mode of every submodule is restored.
- FAB, CW and DeepFool call ``backward``, which adds to the gradients of the weights. Here weights require no gradient.
- Square writes into the logits it receives. Here it receives a copy.
- PGD, APGD, Square and FAB draw from torch's global random state; APGD, Square and FAB seed it first, on every device.
  Here the state is restored, and their seeding is skipped.
- An attack prints a message for a model without parameters. Here the model always has one.
- FAB converts images to float32. Here the model gets the type of the images.
- Results are clamped to [0, 1] silently, and rounding can leave the ball. Here images outside [0, 1] raise an
  `AttackError`, and results are projected exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from robustcsc.attacks.threat import check_images, project
from robustcsc.errors import AttackError
from robustcsc.layers.logits import checked_logits, finite_logits, refuse_not_finite
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.threats import Norm, ThreatModel

#: Norms as torchattacks names them.
NORM_NAMES: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}


class Attacked(nn.Module):
    """The model as an attack sees it.

    Args:
        model: Images to logits.
        images: An example of the images: their type and device.
        scaled: Whether to scale the gradient of every image to a largest entry of 1, so that constants which
            torchattacks adds do not drown small gradients. ``False`` for attacks that measure distances.
    """

    def __init__(self, model: nn.Module, images: Tensor, *, scaled: bool) -> None:
        super().__init__()
        # torchattacks moves the images to the device of the first parameter, and prints if there is none.
        self.place = nn.Parameter(torch.empty(0, device=images.device), requires_grad=False)
        self.model = model
        self._dtype, self._scaled = images.dtype, scaled
        self._bad: list[Tensor] = []  # images without finite logits or gradients in each pass, on the device
        self._total: list[int | None] = []  # of images in that pass; None for a gradient

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of `images` in a tensor of their own, which an attack may write to.

        Raises:
            ModelError: The model does not return logits (N, K).
        """
        logits = self.model(_Gradient.apply(images.to(self._dtype), self._scaled, self._note))
        checked = checked_logits(logits, len(images))
        self._note(checked.detach().isfinite().all(dim=1), len(images))
        return checked.clone()

    def _note(self, finite: Tensor, total: int | None) -> None:
        self._bad.append(finite.logical_not().sum())
        self._total.append(total)

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Checks at the end of the block what came within it: a GPU would be waited for in every step.

        Raises:
            AttackError: A gradient was not finite.
            ModelError: Logits were not finite.
        """
        try:
            yield
        finally:  # also after an error, which numbers that are not finite may have led to
            bad = torch.stack(self._bad).tolist() if self._bad else []
            for count, total in zip(bad, self._total, strict=True):
                if count and total is None:
                    raise AttackError("The gradient of the model is not finite: check its weights and its inputs.")
                refuse_not_finite(count, total or 0)
            self._bad.clear()
            self._total.clear()


@dataclass(frozen=True)
class Search:
    """How an attack with its settings searches.

    Attributes:
        attempt: One attempt at images that are not broken yet: (attacked model, images, labels) to changed images.
        scaled: As in `Attacked`.
        gradients: Whether it needs gradients; a model without them then raises an error.
        minimum_norm: Whether it searches the smallest change, without a budget. Images that are misclassified already
            are then skipped, and a change beyond the budget is dropped, not projected.
    """

    attempt: Callable[[Attacked, Tensor, Tensor], Tensor]
    scaled: bool = True
    gradients: bool = True
    minimum_norm: bool = False


def strongest(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    search: Search,
    *,
    restarts: int = 1,
    seed: int = 0,
) -> Tensor:
    """Returns images within `threat` that `search` finds.

    One attempt is returned as it is, without asking the model again: where it did not succeed, its images may even be
    less wrong than the clean ones. With more restarts, each attacks the images that no earlier one broke, and there is
    a choice, which takes two more forward passes: an image keeps its first misclassified version; one that is never
    misclassified keeps the version of highest loss, the clean one included. If the logits of an image depend on the
    other images of the batch, misclassification is judged in the batch that was attacked: score the returned images
    again.

    The model runs in evaluation mode; its modes, weights and gradients and the global random state are restored
    afterwards.

    Args:
        model: Images (N, C, H, W) in [0, 1] to logits (N, K).
        images: (N, C, H, W), float32 or float64 in [0, 1], on the device of `model`.
        labels: (N,) int64, the true classes.
        threat: Norm and budget; budget 0, or one that the images' type rounds to 0, returns the images unchanged.
        search: The attack; its attempt is called once per restart, on the wrapped model.
        restarts: Largest number of attempts per image, at least 1.
        seed: Seed of torch's global generators while attempts run, at least 0.

    Raises:
        AttackError: Images, labels or settings are invalid, or no finite gradient reaches the images.
        ModelError: The model does not return finite logits (N, K).
    """
    check_images(images, labels)
    check_counts(restarts=restarts)
    if not 0 <= seed < 2**63:
        raise AttackError(f"seed must be at least 0 and below 2**63, not {seed}.")
    with differentiating(), evaluation_mode(model), _frozen(model), seeded(seed, images.device):
        clean = images.detach().clone(memory_format=torch.contiguous_format)
        targets = labels.to(images.device, copy=True)
        if threat.epsilon < torch.finfo(clean.dtype).tiny or len(clean) == 0:
            return clean
        probe(model, clean, targets, gradients=search.gradients)
        attacked = Attacked(model, clean, scaled=search.scaled).eval()  # otherwise torchattacks restores training mode

        def attempt(rows: Tensor) -> Tensor:
            start = clean[rows]
            found = search.attempt(attacked, start, targets[rows]) if len(rows) else start
            return _allowed(found, start, threat, drop=search.minimum_norm)

        def judged(shown: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                return _judged(attacked(shown), targets[rows])

        worst, remaining = clean.clone(), torch.arange(len(clean), device=clean.device)
        with attacked.checked():
            if restarts == 1:
                if search.minimum_norm:
                    remaining = remaining[~judged(clean, remaining)[0]]
                worst[remaining] = attempt(remaining)
                return worst
            wrong, loss = judged(clean, remaining)
            remaining = remaining[~wrong] if search.minimum_norm else remaining
            for _ in range(restarts):
                if len(remaining) == 0:
                    break
                found = attempt(remaining)
                found_wrong, found_loss = judged(found, remaining)
                was_wrong, was_loss = wrong[remaining], loss[remaining]
                better = (found_wrong & ~was_wrong) | ((found_wrong == was_wrong) & (found_loss >= was_loss))
                rows = better.nonzero().flatten()  # a mask would be read back for each of the three
                improved = remaining[rows]
                worst[improved], wrong[improved], loss[improved] = found[rows], found_wrong[rows], found_loss[rows]
                remaining = remaining[~found_wrong]
            return worst


@torch.no_grad()
def outcome(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns which images are misclassified, (N,) bool, and their cross-entropy, (N,).

    Raises:
        AttackError: A label is not one of the classes of the model.
        ModelError: The model does not return finite logits (N, K).
    """
    logits = finite_logits(model(images), len(images))
    check_images(images, labels, num_classes=logits.shape[1])
    return _judged(logits, labels)


def _judged(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return logits.argmax(dim=1) != labels, cross_entropy(logits.double(), labels, reduction="none")


def check_counts(**counts: int) -> None:
    """Refuses settings that count something, such as steps, below 1.

    Raises:
        AttackError: One is below 1.
    """
    for name, value in counts.items():
        if value < 1:
            raise AttackError(f"{name} must be at least 1, not {value}.")


def _allowed(found: Tensor, clean: Tensor, threat: ThreatModel, *, drop: bool) -> Tensor:
    """Returns `found` inside ball and box; pixels that are not finite are those of the clean image."""
    found = torch.where(found.isfinite(), found, clean).to(clean.dtype)
    inside = project(found, clean, threat)
    if drop:
        kept = (inside == found).flatten(1).all(dim=1).view(-1, 1, 1, 1)
        return torch.where(kept, inside, clean)
    return inside


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


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Turns off the gradients of all weights within the block."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


class _Gradient(torch.autograd.Function):
    """The identity, whose gradient is noted to be finite or not, made contiguous, and scaled on request."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, scaled: bool, note: Callable[[Tensor, None], None]) -> Tensor:
        ctx.scaled, ctx.note = scaled, note
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
        ctx.note(largest.isfinite(), None)  # torchattacks treats NaN as "no change"
        if ctx.scaled:
            gradient = torch.where(largest == 0, gradient, gradient / largest)
        return gradient.contiguous(), None, None


def probe(model: nn.Module, images: Tensor, labels: Tensor | None = None, *, gradients: bool = True) -> None:
    """Refuses what an attack cannot work on, after a look at the logits of the first image.

    Raises:
        AttackError: A label is not one of the classes, or no gradient reaches the image although there should be one.
        ModelError: The model does not return finite logits (1, K).
    """
    seen = images[:1].clone().requires_grad_(gradients)
    logits = finite_logits(model(seen), 1)  # checked first: without them gradients mean nothing
    if labels is not None:
        check_images(images, labels, num_classes=logits.shape[1])
    if not gradients:
        return
    if not logits.requires_grad or torch.autograd.grad(logits.sum(), seen, allow_unused=True)[0] is None:
        raise AttackError(
            "No gradient reaches the images through the model, so a gradient attack would find nothing: "
            "make the model differentiable, or use --attack square."
        )
