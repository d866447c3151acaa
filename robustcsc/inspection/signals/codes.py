"""The values of sparse codes: the share of exact zeros, and the distribution of the others.

Source: SDNet (Dai et al., NeurIPS 2022), appendix D.1, figure 6: a histogram over all CIFAR-10 test images, in which
52 % of the values are 0.

Differences from the paper: zeros are counted separately, because a histogram cannot tell 0 from small values, and each
layer has a histogram of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustcsc.data.images import Batch
from robustcsc.inspection.layers import chosen, coding_layers, shown, watch
from robustcsc.inspection.specimen import Findings, Specimen
from robustcsc.presentation.chart import MOST_PANELS, left_out
from robustcsc.presentation.colours import COLOURS
from robustcsc.presentation.drawing import Drawing, own_style, panels, title_panel
from robustcsc.presentation.table import Cell, Column, Table

#: Number of bins on either side of 0, at least half of which are in use.
_HALF = 128
#: Smallest width of a bin, a power of 2.
_FINEST = 2.0**-40


class Histogram:
    """Counts of values that arrive in batches, in bins ``[i w, (i + 1) w)``.

    The width w is the smallest power of 2 with which all values fit. When it doubles, bins are added in pairs, so
    neither w nor the counts depend on the order of the values or on the batches.

    Attributes:
        width: w.
        counts: Counts of the bins i = -128 to 127, int64, ``(256,)``.
    """

    def __init__(self) -> None:
        self.width = _FINEST
        self.counts = torch.zeros(2 * _HALF, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        """Adds finite values of any shape."""
        if not values.numel():
            return
        values = values.double()
        low, high = float(values.min()), float(values.max())
        while not (-_HALF * self.width <= low and high < _HALF * self.width):
            self._widen()
        bins = (values / self.width).floor().long().flatten() + _HALF
        self.counts += torch.bincount(bins, minlength=2 * _HALF).cpu()

    def _widen(self) -> None:
        pairs = self.counts.view(-1, 2).sum(1)
        self.counts = torch.cat((pairs.new_zeros(_HALF // 2), pairs, pairs.new_zeros(_HALF // 2)))
        self.width *= 2


@dataclass(frozen=True, kw_only=True)
class LayerCodes:
    """The codes of a layer.

    Attributes:
        layer: Name of the layer.
        kind: Kind of the layer.
        shape: Shape of the code of one image.
        images: Number of images.
        values: Total number of values.
        zeros: Share of values that are exactly 0.
        negative: Share of values below 0.
        mean_size: Mean of ``|z|`` where z is not 0.
        largest_size: Largest ``|z|``.
        active: Mean number of nonzero values per image.
        unused: Number of channels (atoms) that are 0 in all images.
        class_images: Number of images of each class.
        class_zeros: Share of zeros in the codes of each class; NaN without images.
        class_atoms: Number of atoms used in at least one image of each class.
        bin_width: Width w of the bins.
        bins: Counts of the nonzero values by the position i of their bin ``[i w, (i + 1) w)``; empty bins are left out.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    images: int
    values: int
    zeros: float
    negative: float
    mean_size: float
    largest_size: float
    active: float
    unused: int
    class_images: tuple[int, ...]
    class_zeros: tuple[float, ...]
    class_atoms: tuple[int, ...]
    bin_width: float
    bins: dict[int, int]


class _Sums:
    """Sums over the batches for one layer."""

    def __init__(self, kind: str, classes: int) -> None:
        self.kind = kind
        self.shape: tuple[int, ...] = ()
        self.histogram = Histogram()
        self.images = torch.zeros(classes, dtype=torch.int64)
        self.zeros = torch.zeros(classes, dtype=torch.int64)
        self.used = torch.zeros(classes, 1, dtype=torch.bool)
        self.negative, self.size, self.largest = 0, 0.0, 0.0

    def add(self, codes: Tensor, labels: Tensor) -> None:
        """Adds the codes of a batch, ``(N, atoms, ...)``."""
        self.shape = tuple(codes.shape[1:])
        active = codes != 0
        per_image = active.flatten(1).sum(1).cpu()
        self.images += torch.bincount(labels, minlength=len(self.images))
        self.zeros.index_add_(0, labels, codes[0].numel() - per_image)
        found = active.flatten(2).any(2).cpu() if codes.ndim > 2 else active.cpu()
        self.used = self.used | (F.one_hot(labels, len(self.images)).T.float() @ found.float() > 0)
        values = codes[active]
        self.histogram.add(values)
        self.negative += int((values < 0).sum())
        self.size += float(values.double().abs().sum())
        self.largest = max(self.largest, float(values.abs().max()) if values.numel() else 0.0)

    def result(self, layer: str) -> LayerCodes:
        """Returns the facts about the codes of all batches."""
        each, images = torch.Size(self.shape).numel(), int(self.images.sum())
        values = each * images
        active = values - int(self.zeros.sum())
        counts = self.histogram.counts
        return LayerCodes(
            layer=shown(layer),
            kind=self.kind,
            shape=self.shape,
            images=images,
            values=values,
            zeros=1 - active / values,
            negative=self.negative / values,
            mean_size=self.size / active if active else 0.0,
            largest_size=self.largest,
            active=active / images,
            unused=int((~self.used.any(0)).sum()),
            class_images=tuple(self.images.tolist()),
            class_zeros=tuple((self.zeros.double() / (each * self.images)).tolist()),
            class_atoms=tuple(self.used.sum(1).tolist()),
            bin_width=self.histogram.width,
            bins={int(at) - _HALF: int(counts[at]) for at in counts.nonzero()[:, 0]},
        )


def inspect_codes(specimen: Specimen) -> Findings[LayerCodes]:
    """Returns the sparsity of the codes of a model and the distribution of their values.

    Raises:
        RobustCSCError: The model has no sparse-coding layer, a pattern matches none, or there are no images.
    """
    layers = chosen(coding_layers(specimen.model), specimen.layers)
    classes = specimen.images().classes
    sums = {name: _Sums(layer.kind, len(classes)) for name, layer in layers.items()}

    def note(name: str, batch: Batch, signals: Tensor, codes: Tensor) -> None:
        sums[name].add(codes.movedim(layers[name].atom_axis, 1), batch.labels.cpu())

    watch(specimen, layers, note)
    found = [entry.result(name) for name, entry in sums.items()]
    subject = specimen.titled(found[0].images)
    tables = (codes_table(found, subject), classes_table(found, classes, subject), histogram_table(found, subject))
    printed = 2 if all(it.kind == "task-driven" for it in found) else 1
    drawings = [draw_codes(found, subject)] if specimen.draw else []
    return Findings(facts=found, tables=tables[:printed], long_tables=tables[printed:], drawings=drawings)


def codes_table(found: Sequence[LayerCodes], subject: str) -> Table:
    """Returns one row per layer, and one for all of several."""
    rows: list[tuple[Cell, ...]] = [
        (
            *(it.layer, it.kind, "x".join(map(str, it.shape)), it.zeros, it.negative, it.active, it.unused),
            *(it.mean_size, it.largest_size),
        )
        for it in found
    ]
    if len(found) > 1:
        zeros = sum(it.zeros * it.values for it in found) / sum(it.values for it in found)
        rows.append(("all", "", "", zeros, "", sum(it.active for it in found), "", "", ""))
    columns = (
        *map(Column, ("layer", "kind", "codes")),
        Column("zeros (%)", percent=True, digits=1),
        Column("negative (%)", percent=True, digits=1),
        Column("active per image", digits=1),
        Column("atoms never used"),
        Column("mean |z|", significant=3),
        Column("largest |z|", significant=3),
    )
    notes = ("zeros: values that are exactly 0. mean |z|: of the others.",)
    return Table("codes", f"Codes: {subject}", columns, tuple(rows), notes)


def classes_table(found: Sequence[LayerCodes], classes: Sequence[str], subject: str) -> Table:
    """Returns one row per layer and class: how sparse the codes of its images are."""
    rows: list[tuple[Cell, ...]] = []
    for it in found:
        each = it.values // it.images
        for label, count, zeros, used in zip(classes, it.class_images, it.class_zeros, it.class_atoms, strict=True):
            measured: tuple[Cell, Cell] = (zeros, (1 - zeros) * each) if count else ("", "")
            rows.append((it.layer, label, count, *measured, used, it.shape[0]))
    columns = (
        *map(Column, ("layer", "class", "images")),
        Column("zeros (%)", percent=True, digits=1),
        Column("active per image", digits=1),
        *map(Column, ("atoms ever used", "of")),
    )
    return Table("codes-by-class", f"Sparsity of the codes by class: {subject}", columns, tuple(rows))


def histogram_table(found: Sequence[LayerCodes], subject: str) -> Table:
    """Returns one row per bin that is not empty; zeros have a bin of width 0."""
    rows: list[tuple[Cell, ...]] = []
    for it in found:
        rows.append((it.layer, 0.0, 0.0, round(it.zeros * it.values)))
        rows += [(it.layer, at * it.bin_width, (at + 1) * it.bin_width, count) for at, count in it.bins.items()]
    columns = tuple(map(Column, ("layer", "from", "below", "values")))
    return Table("codes-histogram", f"Histogram of the values of the codes: {subject}", columns, tuple(rows))


@own_style()
def draw_codes(found: Sequence[LayerCodes], subject: str) -> Drawing:
    """Returns the histograms, one panel per layer, on a logarithmic scale (figure 6)."""
    drawn = found[:MOST_PANELS]
    figure, axes = panels(len(drawn))
    for ax, it in zip(axes, drawn, strict=True):
        places = np.arange(min(it.bins, default=0), max(it.bins, default=0) + 1)
        shares = np.array([it.bins.get(int(at), 0) for at in places]) / it.values
        edges = np.append(places, places[-1] + 1) * it.bin_width
        ax.stairs(shares, edges, fill=True, color=COLOURS[0])
        reach = max(abs(edges[0]), abs(edges[-1]))
        ax.bar([0], [it.zeros], width=0.02 * reach, color=COLOURS[1])
        ax.set_yscale("log")
        title_panel(ax, f"{it.layer}: {100 * it.zeros:.1f} % zeros", "value of the code", "share of all values")
    said = "; ".join(f"{it.layer}: {100 * it.zeros:.1f} %" for it in drawn)
    described = f"Histograms on a logarithmic scale; the orange bar counts exact zeros. Zeros: {said}."
    described += left_out(len(found), MOST_PANELS, "layers")
    return Drawing("codes", f"Values of the codes: {subject}", described, figure)
