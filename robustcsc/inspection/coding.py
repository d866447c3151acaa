"""How well the layers of a model code their input: residual, sparsity, dimensions that are not reconstructed.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding" (arXiv:1912.02605), section V-B and definition 1.

A layer that codes the signal X as z stands for the lasso ``min_z 1/2 ||X - D z||^2 + beta ||z||_1``:

| layer | D | beta | L |
|---|---|---|---|
| ML-CSC | L W' | -b L | -c |
| MSD-CSC | [I F'] | -b for the atoms of F, 0 for I | 1 / c |
| SDNet | A | lambda | lambda_max(A'A) / 0.9 |

L is the inverse of the step size. A dimension j of X is reconstructed without success if ``|(D z)_j - X_j| > 2 beta``.

Differences from the paper:
- Definition 1 has one beta for all atoms, a network one threshold for each: beta is their mean. Thresholds below 0 (a
  positive bias), which no lasso has, count as 0, and their share is told.
- The paper's L is 2 lambda_max; the gradient of ``1/2 ||X - D z||^2`` has the Lipschitz constant lambda_max, which is
  used here. With the paper's L, beta and the tolerance would be twice as large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from robustcsc.errors import RobustCSCError
from robustcsc.inspection.coherence import mutual_coherence
from robustcsc.inspection.layers import CONVOLUTIONAL, layers_of, watch
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.dense_csc import DenseCSCConv2d
from robustcsc.layers.multilayer_csc import MultilayerCSCConv2d


@dataclass(frozen=True, kw_only=True)
class Lasso:
    """The problem that a layer stands for.

    Attributes:
        kind: What the layer is called.
        atoms: ``(k, C, kh, kw)``.
        stride: Distance between neighbouring positions of an atom.
        dilation: Distance between neighbouring taps of an atom.
        identity: Whether the dictionary also has the identity.
        thresholds: Those of the k atoms in a step of the solver, ``(k,)``.
        lipschitz: L, the inverse of the step size.
        convergence: Step size times the largest eigenvalue of D'D; the steps converge below 2.
        reconstruct: Codes and their signals to ``D z``, of the shape of the signals.
    """

    kind: str
    atoms: Tensor
    stride: int
    dilation: int
    identity: bool
    thresholds: Tensor
    lipschitz: float
    convergence: float
    reconstruct: Callable[[Tensor, Tensor], Tensor]

    @property
    def beta(self) -> float:
        """The mean over the atoms of threshold times L, those below 0 counted as 0."""
        return float(self.thresholds.clamp_min(0).mean()) * self.lipschitz


@dataclass(frozen=True, kw_only=True)
class LayerCoding:
    """What a layer did on a number of images.

    Attributes:
        layer: Its name in the model.
        kind: What the layer is called.
        signal: ``(C, H, W)`` of its input.
        codes: ``(C, H, W)`` of its output.
        images: Number of images.
        relative_residual: ``||X - D z||^2 / ||X||^2``, both summed over the images.
        residual: ``||X - D z||^2``, mean over the images.
        zeros: Share of the entries of the code that are 0.
        beta: Weight of the l1 norm.
        negative_thresholds: Share of the atoms whose threshold is below 0.
        unsuccessful: Dimensions of X that are not reconstructed within ``2 beta``, mean over the images.
        dimensions: Dimensions of X.
        convergence: Step size times the largest eigenvalue of D'D; the steps converge below 2.
        coherence: Mutual coherence of the convolutional atoms.
        coherence_with_identity: That of the whole dictionary; the same where it has no identity.
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


def lasso_of(layer: nn.Module, image_size: tuple[int, int]) -> Lasso | None:
    """Returns the problem that a layer stands for on signals of a size, ``None`` if it is no layer of sparse coding."""
    if isinstance(layer, MultilayerCSCConv2d | DenseCSCConv2d) and not layer.unfolding:
        layer = deepcopy(layer)
        layer.estimate()  # training leaves c alone where there are no further steps
    if isinstance(layer, MultilayerCSCConv2d):
        lipschitz = -layer.c.item()
        return Lasso(
            kind="ML-CSC",
            atoms=layer.weight.detach(),
            stride=layer.stride,
            dilation=1,
            identity=False,
            thresholds=-layer.bias.detach(),
            lipschitz=lipschitz,
            convergence=lipschitz * layer.largest_eigenvalue(image_size),  # of D = L W' with step size 1 / L
            reconstruct=lambda codes, signals: layer.reconstruct(codes, (signals.shape[2], signals.shape[3])),
        )
    if isinstance(layer, DenseCSCConv2d):
        step = layer.c.item()
        return Lasso(
            kind="MSD-CSC",
            atoms=layer.weight.detach(),
            stride=1,
            dilation=layer.dilation,
            identity=True,
            thresholds=-step * layer.bias.detach(),
            lipschitz=1 / step,
            convergence=step * (1 + layer.largest_eigenvalue(image_size)),
            reconstruct=lambda codes, signals: layer.reconstruct(codes),
        )
    if isinstance(layer, CSCConv2d):
        dictionary, step = layer.dictionary, layer.step_size.item()
        return Lasso(
            kind="CSC",
            atoms=dictionary.weight.detach(),
            stride=dictionary.stride[0],
            dilation=dictionary.dilation[0],
            identity=False,
            thresholds=(step * layer.lam.mean()).expand(len(dictionary.weight)),
            lipschitz=1 / step,
            convergence=step * float(dictionary.lipschitz),
            reconstruct=lambda codes, signals: dictionary.synthesize(codes, (signals.shape[2], signals.shape[3])),
        )
    return None


class _Sums:
    """What is added up over the batches for one layer."""

    def __init__(self) -> None:
        self.lasso: Lasso | None = None
        self.images = 0
        self.signal: tuple[int, ...] = ()
        self.codes: tuple[int, ...] = ()
        self.residual = self.energy = self.zeros = self.unsuccessful = 0.0

    def add(self, layer: nn.Module, signals: Tensor, codes: Tensor) -> None:
        """Adds a batch."""
        if self.lasso is None:
            self.lasso = lasso_of(layer, (signals.shape[2], signals.shape[3]))
        assert self.lasso is not None
        error = (self.lasso.reconstruct(codes, signals) - signals).double()
        self.signal, self.codes = tuple(signals.shape[1:]), tuple(codes.shape[1:])
        self.images += len(signals)
        self.residual += float(error.square().sum())
        self.energy += float(signals.double().square().sum())
        self.zeros += float((codes == 0).double().mean()) * len(codes)
        self.unsuccessful += int((error.abs() > 2 * self.lasso.beta).sum())

    def result(self, name: str) -> LayerCoding:
        """Returns what the sums say."""
        lasso = self.lasso
        assert lasso is not None
        coherence = partial(mutual_coherence, lasso.atoms, stride=lasso.stride, dilation=lasso.dilation)
        return LayerCoding(
            layer=name,
            kind=lasso.kind,
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
            coherence=coherence(),
            coherence_with_identity=coherence(identity=lasso.identity),
        )


def inspect_coding(model: nn.Module, batches: Iterable[Tensor]) -> list[LayerCoding]:
    """Returns what every layer of sparse coding does, in the order in which they are registered.

    Args:
        model: Images ``(N, C, H, W)`` in [0, 1] to logits; left in the mode it is in.
        batches: The images, on the device of the model.

    Raises:
        RobustCSCError: If the model has no such layer, or there are no images.
    """
    layers = layers_of(model, CONVOLUTIONAL)
    if not layers:
        raise RobustCSCError("This model has no layer of sparse coding: inspect an SDNet, an ML-CSC or an MSD-CSC.")
    sums = {name: _Sums() for name in layers}
    watch(model, layers, batches, lambda name, signals, codes: sums[name].add(layers[name], signals, codes))
    return [entry.result(name) for name, entry in sums.items()]
