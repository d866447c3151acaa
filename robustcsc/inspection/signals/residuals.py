"""The residual of each image, clean and corrupted: how well it detects noise.

Source: SDNet (Dai et al., NeurIPS 2022), section 3.3: lambda is predicted from the residual of the CSC layers at the
training lambda. Per image, that works only as well as the residual of one image indicates its noise. The area under the
ROC curve (`robustcsc.inspection.signals.auc`) measures this; the paper has no such figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from robustcsc.adaptive.residuals import layer_residuals, mean_residual
from robustcsc.corruptions import Spec
from robustcsc.corruptions.trial import chosen_corruptions
from robustcsc.errors import RobustCSCError
from robustcsc.inspection.layers import chosen
from robustcsc.inspection.sheets import Array
from robustcsc.inspection.signals.auc import Auc, auc
from robustcsc.inspection.specimen import Findings, Specimen
from robustcsc.layers.lambdas import lambda_layers
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.fits import Definition
from robustcsc.presentation.chart import Chart, Line, Panel, Series, levelled_series
from robustcsc.presentation.colours import BLACK
from robustcsc.presentation.drawn_chart import draw
from robustcsc.presentation.table import Column, Estimate, Table

#: Shares of the images below the reported quantiles.
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
    """The distribution of residuals, and how well they detect a corruption.

    Attributes:
        corruption: Name of the corruption; ``"clean"`` without one.
        severity: 1-5; 0 for clean images.
        images: Number of images.
        mean: Mean of the residual.
        quantiles: Quantiles at `QUANTILES`.
        auc: AUC of the residual as a detector of the corruption, against the clean images; ``None`` for clean images.
    """

    corruption: str
    severity: int
    images: int
    mean: float
    quantiles: tuple[float, ...]
    auc: Auc | None


def inspect_residuals(
    specimen: Specimen,
    definition: Definition = "squared",
    *,
    corruptions: str | None = None,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    spec: Spec,
    seed: int = 0,
) -> Findings[Detection]:
    """Returns the distribution of the residuals of images, and how well they tell corrupted images from clean ones.

    Args:
        specimen: A model with a lambda, the layers whose residuals are averaged, and images.
        definition: Which residual, see `robustcsc.adaptive.residuals`.
        corruptions: See `robustcsc.corruptions.select`; the noises of `spec` if ``None``.
        severities: 1-5.
        spec: Severity table.
        seed: Seed of the corruptions.

    Raises:
        RobustCSCError: The model has no such layer, a corruption is unknown or does not apply, or images are too few.
    """
    layers = residual_layers(specimen.model, specimen.layers)
    asked = corruptions or ",".join(name for name in NOISE_KERNELS.values() if name in spec.corruptions)
    names = chosen_corruptions(specimen.images(), spec, asked, severities, device=specimen.device)
    cells = [("clean", 0), *((name, severity) for name in names for severity in severities)]
    measured = []
    for done, (name, severity) in enumerate(cells):
        given = (images for images, _ in specimen.corrupted(spec, name, severity, seed))
        values = image_residuals(specimen.model, layers, given, definition)
        measured.append(ImageResiduals(corruption=name, severity=severity, values=values))
        specimen.progress("residuals", done, len(cells) - 1)
    found = detections(measured)
    subject = specimen.titled(found[0].images)
    table = residuals_table(found, definition, len(layers), subject)
    drawings = [draw(residuals_chart(measured, definition, subject))] if specimen.draw else []
    return Findings(facts=found, tables=(table,), drawings=drawings)


def residual_layers(model: nn.Module, patterns: Iterable[str] = ()) -> list[int]:
    """Returns the layers whose residuals are averaged, by their places among those with a lambda.

    Raises:
        RobustCSCError: If the model has no layer with a lambda, or a pattern matches none.
    """
    layers = lambda_layers(model)
    if not layers:
        raise RobustCSCError(
            "This model has no layer with a lambda, so it has no residual to detect noise: choose an SDNet or a tddl "
            "model with --run."
        )
    picked = chosen(layers, patterns)
    return [place for place, name in enumerate(layers) if name in picked]


@torch.no_grad()
def image_residuals(
    model: nn.Module, layers: Sequence[int], batches: Iterable[Tensor], definition: Definition
) -> Array:
    """Returns the residual of each image at the training lambda, averaged over some layers, ``(N,)``.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits; it calls each layer with a lambda once, in the order of
            registration.
        layers: From `residual_layers`.
        batches: The images, on the device of the model.
        definition: Definition of the residual, see `robustcsc.adaptive.residuals`.

    Raises:
        RobustCSCError: If there are no images.
    """
    parts = []
    with evaluation_mode(model):
        for images in batches:
            squared, energy = (it[:, layers].double() for it in layer_residuals(model, images))
            parts.append(mean_residual(squared, energy, definition).cpu())
    if not parts:
        raise RobustCSCError("There are no images to inspect the model on: give at least two.")
    values: Array = torch.cat(parts).numpy()
    return values


def detections(measured: Sequence[ImageResiduals]) -> list[Detection]:
    """Returns the distribution of residuals, and how well they detect each corruption.

    Args:
        measured: Residuals of at least 2 images: first of the clean ones, then of their corrupted copies in that order.

    Raises:
        RobustCSCError: If there are fewer than two images.
    """
    clean = measured[0].values
    if len(clean) < 2:
        raise RobustCSCError("A distribution needs at least two images.")
    return [
        Detection(
            corruption=it.corruption,
            severity=it.severity,
            images=len(it.values),
            mean=float(it.values.mean()),
            quantiles=tuple(np.quantile(it.values, QUANTILES).tolist()),
            auc=auc(clean, it.values) if it.severity else None,
        )
        for it in measured
    ]


def residuals_table(found: Sequence[Detection], definition: Definition, layers: int, subject: str) -> Table:
    """Returns one row per corruption and severity, clean images first."""
    rows = tuple(
        (it.corruption, it.severity or "", it.mean, *it.quantiles, "" if it.auc is None else _area(it.auc))
        for it in found
    )
    numbers = ("mean", *(f"{100 * share:.0f} %" for share in QUANTILES))
    columns = (
        *map(Column, ("corruption", "severity")),
        *(Column(heading, significant=4) for heading in numbers),
        Column("AUC", digits=4),
    )
    over = "" if layers == 1 else f", mean over {layers} layers"
    notes = (
        f"The {definition} residual at the training lambda{over}: mean and quantiles over the images. AUC: how well it "
        "tells a corrupted image from a clean one; 95 % intervals after DeLong et al., in pairs after Obuchowski "
        "(1997); an AUC of 0 or 1 has none.",
    )
    return Table("residuals", f"Residuals: {subject}", columns, rows, notes)


def _area(area: Auc) -> Estimate:
    return Estimate(area.area) if area.low == area.high else Estimate(area.area, area.low, area.high)


def residuals_chart(measured: Sequence[ImageResiduals], definition: Definition, subject: str) -> Chart:
    """Returns the distribution functions of the residuals, a panel per corruption, a line per severity; clean first."""
    clean, *corrupted = measured
    severities = sorted({it.severity for it in corrupted})
    levels = levelled_series([f"severity {severity}" for severity in severities])
    series = (Series("clean", BLACK), *(replace(it, marker="") for it in levels))
    spoken = {it.corruption: it.corruption.replace("_", " ") for it in corrupted}
    shown = tuple(
        Panel(
            words,
            f"{definition} residual",
            "share of images below",
            (
                _steps(0, clean.values),
                *(_steps(1 + severities.index(it.severity), it.values) for it in corrupted if it.corruption == name),
            ),
        )
        for name, words in spoken.items()
    )
    described = (
        f"Share of the images whose residual is below the value on the horizontal axis; {len(shown)} panels "
        f"({', '.join(spoken.values())}), lines: {', '.join(it.label for it in series)}. The further a line is from "
        "that of clean images, the better the residual tells the corruption."
    )
    return Chart("residuals", f"Residuals of clean and corrupted images: {subject}", described, shown, series)


def _steps(series: int, values: Array) -> Line:
    """Returns a distribution function: the share of the values that are at most x."""
    shares = np.arange(1, len(values) + 1) / len(values)
    return Line(series, tuple(np.sort(values).tolist()), tuple(shares.tolist()), shape="steps")
