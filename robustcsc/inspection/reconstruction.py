"""How well images can be reconstructed from the codes of each layer: figure 4 of SDNet, with numbers.

Source: SDNet (Dai et al., NeurIPS 2022), appendix B, eq. 12-14, figure 4; `robustcsc.inspection.chain` says how.

Differences from the paper: the figure has no numbers. Pictures are stretched to their full range, each channel by
itself, as in the authors' code, since codes are shrunk at every layer and their images with them; correlation is the
number that does not heed that. Relative error and PSNR do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.chain import reconstructions
from robustcsc.inspection.sheets import Array, sheet_plot, stretched
from robustcsc.report.figures import Plot
from robustcsc.report.table import Table

#: An error whose PSNR is the largest that is told: that of rounding to float32.
_SMALLEST_MSE = 1e-14


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How well images are reconstructed from the codes of a layer.

    Attributes:
        given: What the model was given: ``"clean"``, or a corruption and its severity.
        layer: Name of the layer.
        depth: Number of dictionaries between the codes and the image.
        images: Number of images.
        relative_error: ``||x - x~||^2 / ||x||^2`` at the input of the first layer, both summed over the images.
        psnr: Of the reconstruction, cut to [0, 1], against the image that was given; dB, mean over the images.
        psnr_clean: The same against the clean image.
        correlation: Pearson's, of the reconstruction and the image that was given; mean over the images.
    """

    given: str
    layer: str
    depth: int
    images: int
    relative_error: float
    psnr: float
    psnr_clean: float
    correlation: float


@dataclass
class _Sums:
    depth: int = 0
    images: int = 0
    error: float = 0.0
    energy: float = 0.0
    psnr: float = 0.0
    psnr_clean: float = 0.0
    correlation: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What was measured, and a sentence on the layers that could not be; empty if all could."""

    found: list[Fidelity]
    left_out: str


def measure(model: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]], given: str) -> Measured:
    """Returns how well images are reconstructed from each layer, in the order of depth.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits.
        pairs: Images to give it and the same without corruption, on its device.
        given: What they are, for `Fidelity`.

    Raises:
        RobustCSCError: As `reconstructions`, or there are no images.
    """
    sums: dict[str, _Sums] = {}
    left_out = ""
    for images, clean in pairs:
        reached = reconstructions(model, images)
        if reached.obstacle:
            left_out = (
                f"Reconstructed: {len(reached.found)} of {reached.layers} layers; {reached.obstacle}, so the codes "
                "behind it cannot be taken back."
            )
        for it in reached.found:
            entry = sums.setdefault(it.layer, _Sums(it.depth))
            pixels = it.pixels.clamp(0, 1)
            entry.images += len(images)
            entry.error += float((it.estimate - it.signal).double().square().sum())
            entry.energy += float(it.signal.double().square().sum())
            entry.psnr += float(psnr(pixels, images).sum())
            entry.psnr_clean += float(psnr(pixels, clean).sum())
            entry.correlation += float(correlation(it.pixels, images).sum())
    if not sums:
        raise RobustCSCError("There are no images to reconstruct: give at least one.")
    return Measured([_fidelity(given, layer, entry) for layer, entry in sums.items()], left_out)


def _fidelity(given: str, layer: str, sums: _Sums) -> Fidelity:
    return Fidelity(
        given=given,
        layer=layer,
        depth=sums.depth,
        images=sums.images,
        relative_error=sums.error / sums.energy if sums.energy else 0.0,
        psnr=sums.psnr / sums.images,
        psnr_clean=sums.psnr_clean / sums.images,
        correlation=sums.correlation / sums.images,
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
        (
            it.given,
            str(it.depth),
            it.layer,
            f"{it.relative_error:.3g}",
            f"{it.psnr:.2f}",
            f"{it.psnr_clean:.2f}",
            f"{it.correlation:.3f}",
        )
        for entry in measured
        for it in entry.found
    )
    columns = ("input", "depth", "layer", "relative error", "PSNR (dB)", "PSNR to clean (dB)", "correlation")
    notes = (
        "relative error: ||x - x~||² / ||x||² at the input of the first layer. PSNR: of pixels cut to [0, 1], against "
        "the input and against the clean image. correlation: with the input, which heeds no scale.",
        *dict.fromkeys(entry.left_out for entry in measured if entry.left_out),
    )
    title = f"Reconstruction by depth: {subject}"
    return Table(name="reconstruction", title=title, columns=columns, rows=rows, notes=notes)


def reconstruction_plot(model: nn.Module, rows: Sequence[tuple[str, Tensor]], subject: str) -> Plot:
    """Returns images and what is reconstructed from each layer: a row per image (figure 4).

    Args:
        model: As `measure`.
        rows: What the images are, and the images ``(N, C, H, W)`` on the device of the model, C = 1 or 3; each of the
            N images gets one row for every entry.
        subject: Which model.

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
        f"Columns: the input, and what the dictionaries make of the codes of {', '.join(columns[1:])}, each channel "
        f"stretched to its full range. Rows: {together.shape[0]} images, each {', '.join(name for name, _ in rows)}."
    )
    title = f"Images reconstructed from the codes of each layer: {subject}"
    flat = together.reshape(-1, *together.shape[3:])
    return sheet_plot("reconstruction", title, described, flat, columns=columns, rows=names)


def _array(images: Tensor) -> Array:
    pixels: Array = images.double().cpu().numpy()
    return pixels
