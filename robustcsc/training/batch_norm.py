"""Batch normalisation over the images of all processes, so that a batch is the same one however it is divided."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation with means and variances over the images of all processes, on any device.

    PyTorch's own, `torch.nn.SyncBatchNorm`, computes on GPUs only.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Takes inputs of any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        """Returns the normalised input; both are (N, C, ...)."""
        if not self.training:
            return super().forward(input)
        maps = input.to(torch.promote_types(input.dtype, torch.float32)).transpose(1, -1)  # channels last
        count = _sum_of_all(maps.new_tensor(maps.numel() // maps.shape[-1]))
        others = tuple(range(maps.ndim - 1))
        mean = _sum_of_all(maps.sum(others)) / count
        centred = maps - mean
        variance = _sum_of_all(centred.square().sum(others)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * count / (count - 1), share)
        normalised = centred * (variance + self.eps).rsqrt()
        if self.affine:
            normalised = normalised * self.weight + self.bias
        return normalised.transpose(1, -1).to(input.dtype)


def share_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Returns `model` with batch normalisation over all processes; names, parameters and buffers stay."""
    if device.type == "cuda":
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return shared
    for module in model.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = SharedBatchNorm
    return model


class _SumOfAll(torch.autograd.Function):
    """The sum over all processes, through which the gradients of all flow back."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def _sum_of_all(own: Tensor) -> Tensor:
    total: Tensor = _SumOfAll.apply(own)
    return total
