"""Keeping adversarial images within a threat model, and the checks of what is attacked."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustcsc.errors import AttackError
from robustcsc.measurements.threats import ThreatModel


@torch.no_grad()
def project(perturbed: Tensor, images: Tensor, threat: ThreatModel) -> Tensor:
    """Returns `perturbed` moved into the ball around `images` and into [0, 1], exactly.

    Images are clipped to [0, 1] and then pulled back into the ball (per pixel for linf, along the ray for l2).
    Where rounding to the images' dtype would leave the ball, the pixel is rounded towards the clean one
    instead, so that the budget holds for the returned numbers themselves, computed in float64.

    Both are (N, C, H, W) of one dtype (float32 or float64), `perturbed` finite, `images` clean and in [0, 1]. What lies
    inside already is unchanged.
    """
    clean, boxed = images.double(), perturbed.clamp(0, 1)
    change = boxed.double() - clean
    if threat.norm == "linf":
        allowed = change.clamp(-threat.epsilon, threat.epsilon)
    else:
        lengths = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True)
        shrink = threat.epsilon * (1 - 1e-12) / lengths  # the margin is for the rounding of this product
        allowed = torch.where(lengths > threat.epsilon, change * shrink, change)
    result = (clean + allowed).to(images.dtype)
    overshoots = (result.double() - clean).abs() > allowed.abs()
    result = torch.where(overshoots, torch.nextafter(result, images), result)
    return torch.where(allowed == change, boxed, result)


def check_images(images: Tensor, labels: Tensor, num_classes: int | None = None) -> None:
    """Refuses images and labels that no attack or evaluation makes sense of.

    Raises:
        AttackError: Images are not (N, C, H, W), float32 or float64, finite, in [0, 1], or labels not (N,), int64, in 0
            to ``num_classes - 1`` (if that is known); the sentence says which.
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
