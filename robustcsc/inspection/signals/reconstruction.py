"""How well images can be reconstructed from the codes of each layer.

Source: SDNet (Dai et al., NeurIPS 2022), appendix B, eq. 12-14, figure 4; `.chain` says how.

Differences from the paper: the figure has no numbers. Every layer shrinks the codes, and the reconstructed images with
them. As in the authors' code, each channel of a picture is therefore stretched to its full range. Correlation is
invariant to that scale; relative error and PSNR are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from robustcsc.corruptions import Spec
from robustcsc.corruptions.trial import chosen_corruptions
from robustcsc.errors import RobustCSCError
from robustcsc.inspection.sheets import Array, draw_sheet, stretched
from robustcsc.inspection.signals.chain import Reconstruction, reconstructions
from robustcsc.inspection.specimen import Findings, Specimen
from robustcsc.presentation.drawing import Drawing
from robustcsc.presentation.table import Column, Table

#: Smallest mean squared error, that of rounding to float32; it bounds the PSNR.
_SMALLEST_MSE = 1e-14


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How well images are reconstructed from the codes of a layer.

    Attributes:
        given: The model's input: ``"clean"``, or a corruption and its severity.
        layer: Name of the layer.
        depth: Number of dictionaries between the codes and the image.
        images: Number of images.
        relative_error: ``||x - x~||^2 / ||x||^2`` at the input of the first layer, both summed over the images.
        psnr: PSNR of the reconstruction, clamped to [0, 1], against the input; dB, mean over the images.
        psnr_clean: The same against the clean image.
        correlation: Pearson correlation of the reconstruction and the input, mean over the images.
    """

    given: str
    layer: str
    depth: int
    images: int
    relative_error: float
    psnr: float
    psnr_clean: float
    correlation: float


@dataclass(frozen=True)
class Measured:
    """Fidelity of each layer, and a sentence on the layers that could not be measured; empty if all could."""

    found: list[Fidelity]
    left_out: str


def inspect_reconstruction(
    specimen: Specimen,
    corruption: str | None = None,
    severity: int = 3,
    *,
    spec: Spec,
    seed: int = 0,
    pictures: int = 5,
) -> Findings[Fidelity]:
    """Returns how well images are reconstructed from the codes of each layer.

    Args:
        specimen: A model with convolutional sparse-coding layers, and its images.
        corruption: Corruptions under which the images are reconstructed as well; see `robustcsc.corruptions.select`.
        severity: Severity of the corruptions, 1-5.
        spec: Severity table.
        seed: Seed of the corruptions.
        pictures: Largest number of images in the figure.

    Raises:
        RobustCSCError: As for `reconstructions`, or a corruption is unknown or cannot be applied.
    """
    model, images = specimen.model, specimen.images()
    inputs = {"clean": ("", 0)}
    if corruption is not None:
        names = chosen_corruptions(images, spec, corruption, [severity], device=specimen.device)
        inputs |= {f"{name} {severity}": (name, severity) for name in names}
    measured = [measure(model, specimen.corrupted(spec, *it, seed), given) for given, it in inputs.items()]
    subject = specimen.titled(measured[0].found[0].images)
    drawings = []
    if specimen.draw:
        count = min(pictures, len(images))
        few = images.subset(torch.arange(count) * len(images) // count)
        drawn = replace(specimen, images=lambda: few, batch_size=pictures)
        rows = [(given, next(drawn.corrupted(spec, *it, seed))[0]) for given, it in inputs.items()]
        drawings = [draw_reconstruction(model, rows, subject)]
    found = [it for entry in measured for it in entry.found]
    return Findings(facts=found, tables=(reconstruction_table(measured, subject),), drawings=drawings)


def measure(model: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]], given: str) -> Measured:
    """Returns how well images are reconstructed from each layer, in the order of depth.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits.
        pairs: Input images and the same images without corruption, on the device of the model.
        given: Description of the input, for `Fidelity`.

    Raises:
        RobustCSCError: As `reconstructions`, or if there are no images.
    """
    sums: dict[tuple[str, int], Array] = {}  # by layer and depth
    left_out = ""
    for images, clean in pairs:
        reached = reconstructions(model, images)
        if reached.obstacle:
            left_out = (
                f"Reconstructed from {len(reached.found)} of {reached.layers} layers: {reached.obstacle}, so nothing "
                "can be reconstructed from its codes."
            )
        for it in reached.found:
            key = it.layer, it.depth
            sums[key] = sums.get(key, np.zeros(6)) + _sums(it, images, clean)
    if not sums:
        raise RobustCSCError("There are no images to reconstruct: give at least one.")
    return Measured([_fidelity(given, *it, entry) for it, entry in sums.items()], left_out)


def _sums(found: Reconstruction, images: Tensor, clean: Tensor) -> Array:
    """Returns the number of images and what is summed over them: error, energy, PSNR, that to clean, correlation."""
    pixels, signal = found.pixels.clamp(0, 1), found.signal.double()
    error = (found.estimate - found.signal).double()
    parts = (
        error.square(),
        signal.square(),
        psnr(pixels, images),
        psnr(pixels, clean),
        correlation(found.pixels, images),
    )
    return np.array([len(images), *(float(it.sum()) for it in parts)])


def _fidelity(given: str, layer: str, depth: int, sums: Array) -> Fidelity:
    count, error, energy, peak, peak_clean, correlated = sums.tolist()
    return Fidelity(
        given=given,
        layer=layer,
        depth=depth,
        images=int(count),
        relative_error=error / energy if energy else 0.0,
        psnr=peak / count,
        psnr_clean=peak_clean / count,
        correlation=correlated / count,
    )


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio ``-10 log10 mean (x - y)^2`` of images in [0, 1], ``(N,)`` in dB."""
    return -10 * (images - others).double().square().flatten(1).mean(1).clamp_min(_SMALLEST_MSE).log10()


def correlation(images: Tensor, others: Tensor) -> Tensor:
    """Returns Pearson's correlation over channels and pixels, ``(N,)``; 0 where an image is constant."""
    first, second = (it.double().flatten(1) for it in (images, others))
    first, second = (it - it.mean(1, keepdim=True) for it in (first, second))
    norms = first.norm(dim=1) * second.norm(dim=1)
    cosines: Tensor = (first * second).sum(1) / norms.clamp_min(1e-30)
    return cosines


def reconstruction_table(measured: Sequence[Measured], subject: str) -> Table:
    """Returns one row per input and layer."""
    rows = tuple(
        (it.given, it.depth, it.layer, it.relative_error, it.psnr, it.psnr_clean, it.correlation)
        for entry in measured
        for it in entry.found
    )
    columns = (
        *map(Column, ("input", "depth", "layer")),
        Column("relative error", significant=3),
        Column("PSNR (dB)", digits=2),
        Column("PSNR to clean (dB)", digits=2),
        Column("correlation", digits=3),
    )
    notes = (
        "relative error: ||x - x~||² / ||x||² at the input of the first layer. PSNR: of pixels clamped to [0, 1], "
        "against the input and against the clean image. correlation: with the input, independent of scale.",
        *dict.fromkeys(entry.left_out for entry in measured if entry.left_out),
    )
    return Table("reconstruction", f"Reconstruction by depth: {subject}", columns, rows, notes)


def draw_reconstruction(model: nn.Module, rows: Sequence[tuple[str, Tensor]], subject: str) -> Drawing:
    """Returns images and what is reconstructed from each layer: a row per image (figure 4).

    Args:
        model: As `measure`.
        rows: Descriptions and images ``(N, C, H, W)`` on the device of the model, C = 1 or 3; each of the N images gets
            one row for every entry.
        subject: Description of the model.

    Raises:
        RobustCSCError: As `reconstructions`.
    """
    columns: list[str] = []
    strips = []
    for _, images in rows:
        found = reconstructions(model, images).found
        columns = ["input", *(f"{it.depth}: {it.layer}" for it in found)]
        pictures = [_array(images), *(stretched(_array(it.pixels), by_channel=True) for it in found)]
        strips.append(np.stack(pictures, 1))
    together = np.stack(strips, 1)  # (images, inputs, columns, C, H, W)
    names = [name for _ in range(together.shape[0]) for name, _ in rows]
    described = (
        f"Columns: the input, and its reconstruction from the codes of {', '.join(columns[1:])}, each channel "
        f"stretched to its full range. Rows: {together.shape[0]} images, each {', '.join(name for name, _ in rows)}."
    )
    title = f"Images reconstructed from the codes of each layer: {subject}"
    flat = together.reshape(-1, *together.shape[3:])
    return draw_sheet("reconstruction", title, described, flat, columns=columns, rows=names)


def _array(images: Tensor) -> Array:
    pixels: Array = images.double().cpu().numpy()
    return pixels
