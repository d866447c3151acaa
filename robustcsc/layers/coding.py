"""The contract of sparse-coding layers: what inspection and adaptive inference ask of a layer, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustcsc.layers.operator import ConvOperator


@dataclass(frozen=True, kw_only=True)
class Lasso:
    """The problem ``min_z 1/2 ||x - D z||^2 + beta ||z||_1`` that the steps of a convolutional layer solve.

    Attributes:
        operator: The convolution in D, up to a scale.
        identity: Whether D also contains the identity.
        thresholds: Threshold of each of the k atoms in a step of the solver, ``(k,)``.
        lipschitz: L, the inverse of the step size.
        convergence: Step size times the largest eigenvalue of D'D; the steps converge if it is below 2.
        reconstruct: Maps codes and the shape of their signals to ``D z``.
    """

    operator: ConvOperator
    identity: bool = False
    thresholds: Tensor
    lipschitz: float
    convergence: float
    reconstruct: Callable[[Tensor, torch.Size], Tensor]

    @property
    def beta(self) -> float:
        """Mean over the atoms of threshold times L; negative thresholds count as 0."""
        return float(self.thresholds.clamp_min(0).mean()) * self.lipschitz


class CodingLayer(nn.Module, ABC):
    """A layer that outputs the sparse code of its input.

    Attributes:
        kind: What the layer is called in tables.
        atom_axis: The axis of its codes that counts the atoms.
    """

    kind: ClassVar[str]
    atom_axis: ClassVar[int] = 1

    @abstractmethod
    def reconstruct(self, codes: Tensor, shape: torch.Size) -> Tensor:
        """Returns what the dictionary makes of `codes`, as signals of this shape ``(N, ...)``."""

    def residual(self, signals: Tensor, codes: Tensor) -> Tensor:
        """Returns ``||x - D z||_2^2`` of every signal, ``(N,)`` in float32 or better."""
        differences = signals - self.reconstruct(codes, signals.shape)
        if differences.dtype in (torch.bfloat16, torch.float16):
            differences = differences.float()
        return differences.flatten(1).square().sum(1)


class ConvCodingLayer(CodingLayer):
    """A coding layer whose dictionary is a convolution, and which approximates a lasso."""

    @property
    @abstractmethod
    def operator(self) -> ConvOperator:
        """The convolution in the dictionary, up to a scale."""

    @abstractmethod
    def lasso(self, shape: torch.Size) -> Lasso:
        """Returns the problem that the layer's steps solve, for signals of this shape ``(N, ...)``."""


def conv_coding_layers(model: nn.Module) -> dict[str, ConvCodingLayer]:
    """Returns the convolutional coding layers of `model` by qualified name, in the order of registration."""
    return {name: module for name, module in model.named_modules() if isinstance(module, ConvCodingLayer)}
