"""Losses per image that attacks raise, and the adapter that brings them into torchattacks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from robustcsc.errors import AttackError

#: Logits (N, K) and labels (N,) to one loss per image (N,), larger closer to misclassification.
Loss = Callable[[Tensor, Tensor], Tensor]
_TINY = 1e-12


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the difference of logits ratio ``-(z_y - max_{i != y} z_i) / (z_(1) - z_(3))``, in about [-1, 1].

    It is positive for misclassified images. It does not change when all logits are scaled or shifted, so scaled logits
    cannot mask its gradient, as they can mask that of the cross-entropy.

    Raises:
        AttackError: The logits (N, K) have fewer than three classes.

    Source:
        Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks", ICML 2020, eq. 6.
    """
    require_classes("The DLR loss", logits, 3)
    ordered = logits.sort(dim=1, descending=True).values
    return -margin(logits, labels) / (ordered[:, 0] - ordered[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Returns ``-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)`` for target classes t.

    Raises:
        AttackError: The logits (N, K) have fewer than four classes.

    Source:
        Croce & Hein, ICML 2020, eq. 7.
    """
    require_classes("The targeted DLR loss", logits, 4)
    ordered = logits.sort(dim=1, descending=True).values
    gap = logits.gather(1, targets[:, None]).squeeze(1) - logits.gather(1, labels[:, None]).squeeze(1)
    return gap / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2 + _TINY)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns ``z_y - max_{i != y} z_i``, (N,): below zero for misclassified images."""
    others = logits.scatter(1, labels[:, None], float("-inf")).amax(dim=1)
    return logits.gather(1, labels[:, None]).squeeze(1) - others


#: Losses by name; ``-z_y`` is that of a model that returns mean log-probabilities, such as one averaged over lambdas.
LOSSES: dict[str, Loss] = {
    "ce": lambda logits, labels: cross_entropy(logits, labels, reduction="none"),
    "dlr": dlr,
    "nll": lambda logits, labels: -logits.gather(1, labels[:, None]).squeeze(1),
}


class LossAsLogits(nn.Module):
    """Logits whose cross-entropy grows with any given loss, for attacks that raise the cross-entropy only.

    With ``z_y = -L`` at the label, where L is the loss of the image, and zeros at the other classes, the cross-entropy
    is ``L + log(K - 1 + exp(-L))``, which rises with L everywhere: the direction of the gradient is that of L.
    The labels are those of the images that `forward` gets.
    """

    def __init__(self, model: nn.Module, labels: Tensor, loss: Loss) -> None:
        super().__init__()
        self.model, self._labels, self._loss = model, labels, loss

    def forward(self, images: Tensor) -> Tensor:
        """Returns (N, K): minus the loss at the label, zero elsewhere."""
        logits = self.model(images)
        losses = self._loss(logits, self._labels)
        return torch.zeros_like(logits).scatter(1, self._labels[:, None], -losses[:, None].to(logits.dtype))


def require_classes(what: str, logits: Tensor, least: int) -> None:
    """Raises an `AttackError` if the logits have fewer than `least` columns."""
    if logits.shape[1] < least:
        raise AttackError(f"{what} needs at least {least} classes, but the model has {logits.shape[1]}.")
