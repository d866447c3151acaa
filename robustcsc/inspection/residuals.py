"""The residual of each image, clean and corrupted: how well it tells noise.

Source: SDNet (Dai et al., NeurIPS 2022), section 3.3: the residual of the CSC layers at the training lambda is what
lambda is chosen from. It can only be chosen image by image as well as the residual of one image tells the noise in it,
which is what the area under the ROC curve (`robustcsc.inspection.auc`) says; the paper shows no such figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustcsc.adaptive.residuals import layer_residuals, mean_residual
from robustcsc.errors import RobustCSCError
from robustcsc.inspection.auc import Auc, auc
from robustcsc.inspection.layers import chosen
from robustcsc.layers.lambdas import lambda_layers
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.fits import Definition
from robustcsc.report.figures import Plot, legend_below, legend_rows, panels, shades, title_panel
from robustcsc.report.table import Table
from robustcsc.report.words import corruption_words

Array = np.ndarray[Any, np.dtype[np.float64]]

#: Shares of the images below the quantiles that are told.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, kw_only=True)
class ImageResiduals:
    """The residuals of some images.

    Attributes:
        corruption: Name of the corruption; ``"clean"`` without one.
        severity: 1-5; 0 for clean images.
        values: One per image, ``(N,)``, in the order of the images.
    """

    corruption: str
    severity: int
    values: Array


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How residuals are distributed, and how well they tell a corruption.

    Attributes:
        corruption: Name of the corruption; ``"clean"`` without one.
        severity: 1-5; 0 for clean images.
        images: Number of images.
        mean: Mean of the residual.
        quantiles: Those of `QUANTILES`.
        auc: Of the residual as a detector of the corruption, against the same images without it; ``None`` for clean.
    """

    corruption: str
    severity: int
    images: int
    mean: float
    quantiles: tuple[float, ...]
    auc: Auc | None


def residual_layers(model: nn.Module, patterns: Iterable[str] = ()) -> list[str]:
    """Returns the names of the layers whose residuals are averaged.

    Raises:
        RobustCSCError: If the model has no layer with a lambda, or a pattern fits none.
    """
    layers = lambda_layers(model)
    if not layers:
        raise RobustCSCError(
            "This model has no layer with a lambda, whose residual could tell noise: inspect an SDNet or a tddl model."
        )
    return list(chosen(layers, patterns))


@torch.no_grad()
def image_residuals(
    model: nn.Module, layers: Sequence[str], batches: Iterable[Tensor], definition: Definition
) -> Array:
    """Returns the residual of each image at the training lambda, averaged over some layers, ``(N,)``.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits, each layer with a lambda called once and in the order of
            registration.
        layers: Names of layers, as `residual_layers` returns them.
        batches: The images, on the device of the model.
        definition: Which residual, see `robustcsc.adaptive.residuals`.

    Raises:
        RobustCSCError: If there are no images.
    """
    places = [list(lambda_layers(model)).index(name) for name in layers]
    parts = []
    with evaluation_mode(model):
        for images in batches:
            squared, energy = (it[:, places].double() for it in layer_residuals(model, images))
            parts.append(mean_residual(squared, energy, definition).cpu())
    if not parts:
        raise RobustCSCError("There are no images to inspect the model on: give at least two.")
    values: Array = torch.cat(parts).numpy()
    return values


def detections(clean: Array, corrupted: Iterable[ImageResiduals]) -> list[Detection]:
    """Returns the distribution of the residuals of clean images, then of those under each corruption.

    Args:
        clean: Residuals of the clean images, ``(N,)``, at least 2.
        corrupted: Those of the same images in the same order.

    Raises:
        RobustCSCError: If there are fewer than two images.
    """
    if len(clean) < 2:
        raise RobustCSCError("One image makes no distribution: give at least two.")
    found = [_detection(ImageResiduals(corruption="clean", severity=0, values=clean), None)]
    return found + [_detection(it, auc(clean, it.values, paired=True)) for it in corrupted]


def _detection(residuals: ImageResiduals, area: Auc | None) -> Detection:
    return Detection(
        corruption=residuals.corruption,
        severity=residuals.severity,
        images=len(residuals.values),
        mean=float(residuals.values.mean()),
        quantiles=tuple(np.quantile(residuals.values, QUANTILES).tolist()),
        auc=area,
    )


def residuals_table(found: Sequence[Detection], definition: Definition, layers: int, subject: str) -> Table:
    """Returns one row per corruption and severity, clean images first."""
    rows = tuple(
        (
            it.corruption,
            str(it.severity) if it.severity else "",
            f"{it.mean:.4g}",
            *(f"{value:.4g}" for value in it.quantiles),
            "" if it.auc is None else _area(it.auc),
        )
        for it in found
    )
    columns = ("corruption", "severity", "mean", *(f"{100 * share:.0f} %" for share in QUANTILES), "AUC [95 %]")
    over = "" if layers == 1 else f", mean over {layers} layers"
    notes = (
        f"The {definition} residual at the training lambda{over}: mean and quantiles over the images. AUC: how well it "
        "tells a corrupted image from a clean one; intervals after DeLong et al., in pairs after Obuchowski (1997); an "
        "AUC of 0 or 1 has none.",
    )
    return Table(name="residuals", title=f"Residuals: {subject}", columns=columns, rows=rows, notes=notes)


def _area(area: Auc) -> str:
    return f"{area.area:.4f}" if area.low == area.high else f"{area.area:.4f} [{area.low:.4f}, {area.high:.4f}]"


def residuals_plot(clean: Array, corrupted: Sequence[ImageResiduals], definition: Definition, subject: str) -> Plot:
    """Returns the distribution functions of the residuals, a panel per corruption, a line per severity."""
    names = list(dict.fromkeys(it.corruption for it in corrupted))
    severities = sorted({it.severity for it in corrupted})
    labels = ["clean", *(f"severity {severity}" for severity in severities)]
    figure, axes = panels(len(names), legend_rows(labels))
    handles: dict[str, Any] = {}
    for ax, name in zip(axes, names, strict=True):
        lines: dict[str, tuple[Array, Any]] = {"clean": (clean, "black")}
        for it in corrupted:
            if it.corruption == name:
                lines[f"severity {it.severity}"] = (it.values, shades(len(severities))[severities.index(it.severity)])
        for label, (values, colour) in lines.items():
            shares = np.arange(1, len(values) + 1) / len(values)
            (line,) = ax.step(np.sort(values), shares, where="post", color=colour, linewidth=1.4)
            handles.setdefault(label, line)
        title_panel(ax, corruption_words(name), f"{definition} residual", "share of images below")
    legend_below(figure, [handles[label] for label in labels], labels)
    described = (
        f"Share of the images whose residual is below the value on the horizontal axis; {len(names)} panels "
        f"({', '.join(map(corruption_words, names))}), lines: {', '.join(labels)}. The further a line is from that of "
        "clean images, the better the residual tells the corruption."
    )
    return Plot("residuals", f"Residuals of clean and corrupted images: {subject}", described, figure)
