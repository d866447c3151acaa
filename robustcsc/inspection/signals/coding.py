"""How well the layers of a model code their input: residual, sparsity, and dimensions that are not reconstructed.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding" (arXiv:1912.02605), section V-B and definition 1.

The code z of a signal X approximates the solution of the lasso ``min_z 1/2 ||X - D z||^2 + beta ||z||_1``
(`robustcsc.layers.coding.Lasso`):

| layer | D | beta | L |
|---|---|---|---|
| ML-CSC | L W' | -b L | 1 / lambda_max(WW') |
| MSD-CSC | [I F'] | -b for the atoms of F, 0 for I | 1 + lambda_max(FF') |
| SDNet | A | lambda | lambda_max(A'A) / 0.9 |

L is the inverse of the step size. Reconstruction of dimension j of X is unsuccessful if ``|(D z)_j - X_j| > 2 beta``.

Differences from the paper:
- Definition 1 has one beta for all atoms, a network one threshold for each; beta is their mean. Negative thresholds (a
  positive bias), which no lasso has, count as 0, and their share is reported.
- The paper's L is 2 lambda_max. The Lipschitz constant of the gradient of ``1/2 ||X - D z||^2`` is lambda_max, which is
  used here. With the paper's L, beta and the tolerance would be twice as large.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.layers import shown, watch
from robustcsc.inspection.learned.coherence import mutual_coherence
from robustcsc.inspection.specimen import Findings, Specimen
from robustcsc.layers.coding import ConvCodingLayer, Lasso, conv_coding_layers
from robustcsc.presentation.table import Column, Table


@dataclass(frozen=True, kw_only=True)
class LayerCoding:
    """How a layer coded a number of images.

    Attributes:
        layer: Name of the layer in the model.
        kind: Kind of the layer.
        signal: Shape ``(C, H, W)`` of its input.
        codes: Shape ``(C, H, W)`` of its output.
        images: Number of images.
        relative_residual: ``||X - D z||^2 / ||X||^2``, both summed over the images.
        residual: ``||X - D z||^2``, mean over the images.
        zeros: Share of zeros in the codes.
        beta: Weight of the l1 norm.
        negative_thresholds: Share of the atoms with a negative threshold.
        unsuccessful: Number of dimensions of X not reconstructed within ``2 beta``, mean over the images.
        dimensions: Number of dimensions of X.
        convergence: Step size times the largest eigenvalue of D'D; the steps converge if it is below 2.
        coherence: Mutual coherence of the convolutional atoms.
        coherence_with_identity: Mutual coherence of the whole dictionary; the same if it has no identity.
    """

    layer: str
    kind: str
    signal: tuple[int, ...]
    codes: tuple[int, ...]
    images: int
    relative_residual: float
    residual: float
    zeros: float
    beta: float
    negative_thresholds: float
    unsuccessful: float
    dimensions: int
    convergence: float
    coherence: float
    coherence_with_identity: float


class _Sums:
    """Sums over the batches for one layer."""

    def __init__(self, layer: ConvCodingLayer) -> None:
        self.layer = layer
        self.lasso: Lasso | None = None
        self.images = 0
        self.signal: tuple[int, ...] = ()
        self.codes: tuple[int, ...] = ()
        self.residual = self.energy = self.zeros = self.unsuccessful = 0.0

    def add(self, signals: Tensor, codes: Tensor) -> None:
        """Adds a batch."""
        if self.lasso is None:
            self.lasso = self.layer.lasso(signals.shape)
        error = (self.lasso.reconstruct(codes, signals.shape) - signals).double()
        self.signal, self.codes = tuple(signals.shape[1:]), tuple(codes.shape[1:])
        self.images += len(signals)
        self.residual += float(error.square().sum())
        self.energy += float(signals.double().square().sum())
        self.zeros += float((codes == 0).double().mean()) * len(codes)
        self.unsuccessful += int((error.abs() > 2 * self.lasso.beta).sum())

    def result(self, name: str) -> LayerCoding:
        """Returns the means over all batches."""
        lasso = self.lasso
        assert lasso is not None
        return LayerCoding(
            layer=name,
            kind=self.layer.kind,
            signal=self.signal,
            codes=self.codes,
            images=self.images,
            relative_residual=self.residual / self.energy if self.energy else 0.0,
            residual=self.residual / self.images,
            zeros=self.zeros / self.images,
            beta=lasso.beta,
            negative_thresholds=float((lasso.thresholds < 0).double().mean()),
            unsuccessful=self.unsuccessful / self.images,
            dimensions=torch.Size(self.signal).numel(),
            convergence=lasso.convergence,
            coherence=mutual_coherence(lasso.operator),
            coherence_with_identity=mutual_coherence(lasso.operator, identity=lasso.identity),
        )


def inspect_coding(specimen: Specimen) -> Findings[LayerCoding]:
    """Returns residual, sparsity and coherence of the convolutional sparse-coding layers, in order of registration.

    Raises:
        RobustCSCError: The model has no such layer, or there are no images.
    """
    layers = conv_coding_layers(specimen.model)
    if not layers:
        raise RobustCSCError(
            "This model has no convolutional sparse-coding layer: choose an SDNet, an ML-CSC or an MSD-CSC with --run."
        )
    sums = {name: _Sums(layer) for name, layer in layers.items()}
    watch(specimen, layers, lambda name, batch, signals, codes: sums[name].add(signals, codes))
    found = [entry.result(name) for name, entry in sums.items()]
    return Findings(facts=found, tables=(coding_table(found, specimen.titled(found[0].images)),))


def coding_table(found: Iterable[LayerCoding], subject: str) -> Table:
    """Returns one row per layer."""
    rows = tuple(
        (
            *(shown(it.layer), it.kind, "x".join(map(str, it.signal)), "x".join(map(str, it.codes))),
            *(it.relative_residual, it.zeros, it.beta, it.negative_thresholds, it.unsuccessful, it.dimensions),
            *(it.convergence, it.coherence, it.coherence_with_identity),
        )
        for it in found
    )
    columns = (
        *map(Column, ("layer", "kind", "signal", "codes")),
        Column("residual", significant=3),
        Column("zeros (%)", percent=True, digits=1),
        Column("beta", significant=3),
        Column("thresholds < 0 (%)", percent=True, digits=0),
        Column("unsuccessful", digits=1),
        Column("of"),
        Column("step x L", significant=3),
        Column("coherence", digits=3),
        Column("with I", digits=3),
    )
    notes = (
        "residual: ||X - Dz||² / ||X||². unsuccessful: dimensions of the signal with |Dz - X| > 2 beta, mean over the "
        "images. step x L: steps converge below 2. coherence: of the atoms, and with the identity of the dictionary.",
    )
    return Table("coding", f"Coding: {subject}", columns, rows, notes)
