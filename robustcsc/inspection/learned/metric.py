r"""The learned metrics of a DeTraMe-Net: W~, h and b of its Q-Metric ReLUs.

Source: Tang et al., "Deep Transform and Metric Learning Network", arXiv:2002.07898, eq. 18-24. The paper has no figure
of them.

With the metric Q of theorem 4.1, ``W~ = (Theta + beta)^-1 (Theta - Q)`` where Theta is the diagonal of Q. So

    I - W~ = (Theta + beta)^-1 (Q + beta I)

is the metric up to a scale for each channel. For a plain ReLU it is the identity. Two numbers measure how far a learned
metric is from that: the distance ``||I - W~ - c I|| / ||I - W~||`` to the closest multiple of the identity (Frobenius
norms), and the asymmetry ``||W~ - W~'|| / (2 ||W~||)``, which is 0 for a symmetric metric with equal scales, 1 if
``W~' = -W~``, and about 0.7 for random entries. Training does not enforce symmetry.

The spectrum is that of W~ as a convolution on a periodic image of `SIDE` x `SIDE` pixels. The recurrence
``U <- ReLU(... + W~ U)`` is a contraction if the largest singular value is below 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.layers import chosen, shown
from robustcsc.inspection.specimen import Findings, Specimen
from robustcsc.layers.qmetric import QMetricReLU, responses
from robustcsc.presentation.colours import COLOURS
from robustcsc.presentation.drawing import Drawing, own_style, panels, title_panel
from robustcsc.presentation.table import Column, Table
from robustcsc.presentation.words import slug

#: Side of the image on which the spectrum of a convolution is computed.
SIDE = 8


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The learned metric of a Q-Metric ReLU.

    Attributes:
        layer: Name of the layer.
        channels: k.
        kernel: Height and width of the filters of W~.
        blocks: Number of diagonal blocks.
        norm: ``||W~||_F``.
        from_identity: Distance of ``I - W~`` to the closest multiple of the identity, relative, in [0, 1].
        asymmetry: ``||W~ - W~'||_F / (2 ||W~||_F)``, in [0, 1]; 0 if W~ is 0.
        largest_singular: Largest singular value of W~.
        spectral_radius: Largest ``|eigenvalue|`` of W~.
        gain: Smallest, mean and largest entry of h.
        threshold: The same of b.
    """

    layer: str
    channels: int
    kernel: tuple[int, int]
    blocks: int
    norm: float
    from_identity: float
    asymmetry: float
    largest_singular: float
    spectral_radius: float
    gain: tuple[float, float, float]
    threshold: tuple[float, float, float]


def inspect_metrics(specimen: Specimen) -> Findings[Metric]:
    """Returns facts about the Q-Metric ReLUs of a model. No image is used.

    Raises:
        RobustCSCError: The model has none, or a pattern matches none.
    """
    layers = chosen(metric_layers(specimen.model), specimen.layers)
    found = [describe(name, layer) for name, layer in layers.items()]
    drawings = [draw_metric(*it, specimen.name) for it in layers.items()] if specimen.draw else []
    return Findings(facts=found, tables=(metric_table(found, specimen.name),), drawings=drawings)


def metric_layers(model: nn.Module) -> dict[str, QMetricReLU]:
    """Returns the Q-Metric ReLUs by name, in the order of registration.

    Raises:
        RobustCSCError: If the model has none.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, QMetricReLU)}
    if not layers:
        raise RobustCSCError("This model has no Q-Metric ReLU: choose a detrame model with --run.")
    return layers


def whole_weight(layer: QMetricReLU) -> Tensor:
    """Returns W~ with the zeros outside its blocks, ``(k, k, kh, kw)`` in float64 on the CPU."""
    weight = layer.weight.detach().double().cpu()
    channels, per_block = weight.shape[:2]
    whole = weight.new_zeros(channels, channels, *weight.shape[2:])
    for start in range(0, channels, per_block):
        rows = slice(start, start + per_block)
        whole[rows, rows] = weight[rows]
    return whole


def describe(name: str, layer: QMetricReLU) -> Metric:
    """Returns the learned metric of a layer."""
    weight = whole_weight(layer)
    middle = (weight.shape[2] // 2, weight.shape[3] // 2)
    norm = float(weight.norm())
    remainder = -weight
    diagonal = remainder[:, :, *middle].diagonal()
    diagonal += 1  # I - W~
    whole = float(remainder.norm())
    diagonal -= diagonal.mean().clone()
    mirrored = weight.transpose(0, 1).flip(2, 3)
    frequencies = responses(weight, SIDE)
    return Metric(
        layer=shown(name),
        channels=len(weight),
        kernel=(weight.shape[2], weight.shape[3]),
        blocks=layer.blocks,
        norm=norm,
        from_identity=float(remainder.norm()) / whole if whole else 0.0,
        asymmetry=float((weight - mirrored).norm()) / (2 * norm) if norm else 0.0,
        largest_singular=float(torch.linalg.matrix_norm(frequencies, 2).max()),
        spectral_radius=float(torch.linalg.eigvals(frequencies).abs().max()),
        gain=_summary(layer.gain),
        threshold=_summary(layer.threshold),
    )


def _summary(values: Tensor) -> tuple[float, float, float]:
    values = values.detach().double()
    return float(values.min()), float(values.mean()), float(values.max())


def metric_table(found: Sequence[Metric], subject: str) -> Table:
    """Returns one row per Q-Metric ReLU."""
    rows = tuple(
        (
            *(it.layer, it.channels, "x".join(map(str, it.kernel)), it.blocks, it.norm, it.from_identity),
            *(it.asymmetry, it.largest_singular, it.spectral_radius, _three(it.gain), _three(it.threshold)),
        )
        for it in found
    )
    columns = (
        *map(Column, ("layer", "channels", "filters", "blocks")),
        Column("||W~||", significant=3),
        *(Column(it, digits=3) for it in ("from c I", "asymmetry", "singular value", "spectral radius")),
        *map(Column, ("h", "b")),
    )
    notes = (
        "from c I: relative distance of I - W~ to the closest multiple of the identity; 0 for a plain ReLU. "
        "asymmetry: 0 if symmetric, about 0.7 for random entries. singular value: the largest; the recurrence is a "
        "contraction if it is below 1. h and b: smallest, mean, largest.",
    )
    return Table("metric", f"Learned metrics: {subject}", columns, rows, notes)


def _three(values: tuple[float, float, float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


@own_style()
def draw_metric(name: str, layer: QMetricReLU, subject: str) -> Drawing:
    """Returns W~ as a picture, its singular values, its eigenvalues, and h and b, of one layer."""
    weight = whole_weight(layer)
    frequencies = responses(weight, SIDE)
    figure, axes = panels(4)
    _picture(figure, axes[0], weight)
    singular = torch.linalg.svdvals(frequencies).flatten().sort(descending=True).values.numpy()
    axes[1].plot(np.linspace(0, 1, len(singular)), singular, color=COLOURS[0], linewidth=1.4)
    axes[1].axhline(1, color="black", linewidth=0.8, linestyle=":")
    title_panel(axes[1], "Singular values of W~", "share of all", "singular value")
    eigenvalues = torch.linalg.eigvals(frequencies).flatten().numpy()
    axes[2].plot(eigenvalues.real, eigenvalues.imag, ".", color=COLOURS[0], markersize=2, rasterized=True)
    angles = np.linspace(0, 2 * np.pi, 200)
    axes[2].plot(np.cos(angles), np.sin(angles), color="black", linewidth=0.8, linestyle=":")
    axes[2].set_aspect("equal", adjustable="datalim")
    title_panel(axes[2], "Eigenvalues of W~", "real part", "imaginary part")
    for values, label, at in ((layer.gain, "h", 0), (layer.threshold, "b", 1)):
        heights = values.detach().double().cpu().sort().values.numpy()
        axes[3].plot(heights, color=COLOURS[at], linewidth=1.4, label=label)
    axes[3].legend(fontsize=8, frameon=False)
    title_panel(axes[3], "h and b, sorted", "channel", "value")
    described = (
        "W~ as a matrix of channels (for each filter, the entry of largest size), its singular values and eigenvalues "
        "over all frequencies (dotted: 1), and the sorted entries of h and b."
    )
    return Drawing(slug("metric", shown(name)), f"Learned metric of {shown(name)}: {subject}", described, figure)


def _picture(figure: Figure, ax: Axes, weight: Tensor) -> None:
    """Draws W~, for each filter the entry of largest size."""
    flat = weight.flatten(2)
    matrix = flat.gather(2, flat.abs().argmax(2, keepdim=True))[:, :, 0].numpy()
    reach = max(float(np.abs(matrix).max()), 1e-12)
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax, fraction=0.046)
    title_panel(ax, "W~", "from channel", "to channel")
