"""What an attacker may do: a norm and a budget, and the checks of what is attacked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustcsc.errors import AttackError

Norm = Literal["linf", "l2"]

#: The budgets in Table 4 of the SDNet paper (Dai et al., NeurIPS 2022), in pixel units of [0, 1].
DEFAULT_EPSILON: dict[Norm, float] = {"linf": 8 / 255, "l2": 0.5}


@dataclass(frozen=True)
class ThreatModel:
    """All images within `epsilon` of the clean one in `norm`, and within [0, 1].

    Attributes:
        norm: ``"linf"`` (largest change of a pixel) or ``"l2"`` (Euclidean norm over all pixels of an image).
        epsilon: Budget in pixel units of [0, 1]; at least 0, for ``"linf"`` at most 1.

    Raises:
        AttackError: The norm is unknown or the budget is outside its range.
    """

    norm: Norm
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in DEFAULT_EPSILON:
            raise AttackError(f"Unknown norm {self.norm!r}: choose one of {', '.join(DEFAULT_EPSILON)}.")
        if not math.isfinite(self.epsilon) or self.epsilon < 0:
            raise AttackError(f"epsilon must be a finite number of at least 0, not {self.epsilon}.")
        if self.norm == "linf" and self.epsilon > 1:
            raise AttackError(
                f"epsilon is in pixel units of [0, 1], so {self.epsilon} is too large for linf: "
                f"did you mean {self.epsilon:g}/255?"
            )

    @torch.no_grad()
    def project(self, perturbed: Tensor, images: Tensor) -> Tensor:
        """Returns `perturbed` moved into the ball around `images` and into [0, 1], exactly.

        Images are clipped to [0, 1] and then pulled back into the ball (per pixel for linf, along the ray for l2).
        Where rounding to the images' dtype would leave the ball, the pixel is rounded towards the clean one
        instead, so that the budget holds for the returned numbers themselves, computed in float64.

        Args:
            perturbed: (N, C, H, W), finite.
            images: (N, C, H, W), the clean images in [0, 1], of the same dtype (float32 or float64).

        Returns:
            (N, C, H, W) of the same dtype; what lies inside already is unchanged.
        """
        clean, boxed = images.double(), perturbed.clamp(0, 1)
        change = boxed.double() - clean
        if self.norm == "linf":
            allowed = change.clamp(-self.epsilon, self.epsilon)
        else:
            lengths = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True)
            shrink = self.epsilon * (1 - 1e-12) / lengths  # the margin is for the rounding of this product
            allowed = torch.where(lengths > self.epsilon, change * shrink, change)
        result = (clean + allowed).to(images.dtype)
        overshoots = (result.double() - clean).abs() > allowed.abs()
        result = torch.where(overshoots, torch.nextafter(result, images), result)
        return torch.where(allowed == change, boxed, result)


def parse_epsilon(text: str) -> float:
    """Returns the budget that a user typed, as a fraction (``"8/255"``) or a number (``"0.5"``).

    Raises:
        AttackError: The text is no such number, or it is negative or not finite.
    """
    numerator, slash, denominator = text.partition("/")
    try:
        epsilon = float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        epsilon = math.nan
    if not math.isfinite(epsilon) or epsilon < 0:
        raise AttackError(f"{text!r} is no attack budget: write a number such as 0.5 or a fraction such as 8/255.")
    return epsilon


def check_images(images: Tensor, labels: Tensor, num_classes: int | None = None) -> None:
    """Refuses images and labels that no attack or evaluation makes sense of.

    Args:
        images: Should be (N, C, H, W), float32 or float64, finite, in [0, 1].
        labels: Should be (N,), int64, in 0 to ``num_classes - 1``.
        num_classes: Number of classes, if it is known.

    Raises:
        AttackError: One of these does not hold; the sentence says which.
    """
    if images.ndim != 4:
        raise AttackError(f"images must have the shape (N, C, H, W), not {tuple(images.shape)}.")
    if images.dtype not in (torch.float32, torch.float64):
        raise AttackError(f"images must be float32 or float64 in [0, 1], not {images.dtype}: convert them first.")
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise AttackError(
            f"labels must be one int64 per image, shape ({len(images)},), "
            f"not {labels.dtype} of shape {tuple(labels.shape)}."
        )
    if images.numel() == 0:
        return
    lowest, highest = (float(value) for value in torch.aminmax(images.detach()))
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise AttackError("images hold values that are not finite: look for NaN or infinity in the data.")
    if lowest < 0 or highest > 1:
        raise AttackError(
            f"images must lie in [0, 1], not in [{lowest:g}, {highest:g}]: normalisation belongs inside the model."
        )
    lowest_label, highest_label = (int(value) for value in torch.aminmax(labels))
    if lowest_label < 0 or (num_classes is not None and highest_label >= num_classes):
        limit = "" if num_classes is None else f" and below the {num_classes} classes of the model"
        raise AttackError(
            f"labels must be at least 0{limit}; they range from {lowest_label} to {highest_label}: "
            "check that model and data set belong together."
        )
