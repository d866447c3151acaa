r"""Proximal operators: ``prox_g(v) = argmin_z g(z) + 1/2 ||z - v||^2``, in closed form.

All functions act elementwise. `threshold` broadcasts against `values`, so ``(N, 1, 1, 1)`` gives each image of a batch
its own.
"""

from torch import Tensor


def soft_threshold(values: Tensor, threshold: Tensor | float) -> Tensor:
    """Proximal operator of ``threshold * |z|``: ``sign(v) * max(|v| - threshold, 0)``.

    Source: SDNet (Dai et al., NeurIPS 2022), eq. 8.
    """
    return values.sign() * (values.abs() - threshold).relu_()


def nonnegative_soft_threshold(values: Tensor, threshold: Tensor | float) -> Tensor:
    """Proximal operator of ``threshold * |z|`` over ``z >= 0``: ``max(v - threshold, 0)``."""
    return (values - threshold).relu_()  # in place on the difference, because codes are large


def ridge(values: Tensor, weight: Tensor | float) -> Tensor:
    """Proximal operator of ``weight / 2 * z^2``: ``v / (1 + weight)``; after a soft threshold, of the elastic net."""
    return values / (1 + weight)
