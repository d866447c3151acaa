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

    Args:
        logits: (N, K), at least three classes.
        labels: (N,) int64.

    Raises:
        AttackError: The logits have fewer than three classes.

    Source:
        Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks", ICML 2020, eq. 6.
    """
    require_classes("The DLR loss", logits, 3)
    ordered = logits.sort(dim=1, descending=True).values
    own = logits.gather(1, labels[:, None]).squeeze(1)
    return (_largest_other(logits, labels) - own) / (ordered[:, 0] - ordered[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Returns ``-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)``.

    Args:
        logits: (N, K), at least four classes.
        labels: (N,) int64, the true classes.
        targets: (N,) int64, the target classes.

    Raises:
        AttackError: The logits have fewer than four classes.

    Source:
        Croce & Hein, ICML 2020, eq. 7.
    """
    require_classes("The targeted DLR loss", logits, 4)
    ordered = logits.sort(dim=1, descending=True).values
    gap = logits.gather(1, targets[:, None]).squeeze(1) - logits.gather(1, labels[:, None]).squeeze(1)
    return gap / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2 + _TINY)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns ``z_y - max_{i != y} z_i``, (N,): below zero for misclassified images."""
    return logits.gather(1, labels[:, None]).squeeze(1) - _largest_other(logits, labels)


def negative_log(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns ``-z_y``: the loss of a model that returns mean log-probabilities, such as one averaged over lambdas."""
    return -logits.gather(1, labels[:, None]).squeeze(1)


#: Losses by name.
LOSSES: dict[str, Loss] = {
    "ce": lambda logits, labels: cross_entropy(logits, labels, reduction="none"),
    "dlr": dlr,
    "nll": negative_log,
}


class LossAsLogits(nn.Module):
    """Logits whose cross-entropy grows with any given loss, for attacks that raise the cross-entropy only.

    With ``z_y = -L`` at the label, where L is the loss of the image, and zeros at the other classes, the cross-entropy
    is ``L + log(K - 1 + exp(-L))``, which rises with L everywhere: the direction of the gradient is that of L.

    Args:
        model: Images to logits (N, K).
        labels: (N,) int64, labels of the images that `forward` gets.
        loss: The loss.
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
    """Checks the number of classes of a model.

    Raises:
        AttackError: The logits have fewer than `least` columns.
    """
    if logits.shape[1] < least:
        raise AttackError(f"{what} needs at least {least} classes, but the model has {logits.shape[1]}.")


def _largest_other(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(1, labels[:, None], float("-inf")).amax(dim=1)
