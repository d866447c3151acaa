"""The dictionary of a CSC layer: atoms of unit norm, and the largest eigenvalue that its step size needs.

Source: SDNet (Dai et al., NeurIPS 2022), section 3.2 and appendix A, eq. 9 and 10.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import sqrt

import torch
from torch import Tensor, nn

from robustcsc.layers.constraints import warm_iterations
from robustcsc.layers.convolution import Pair
from robustcsc.layers.operator import ConvOperator

#: SDNet appendix A: the power iteration stops when the unit vector moves by less than this ...
POWER_TOLERANCE = sqrt(1e-5)
#: ... or after this many iterations.
POWER_ITERATIONS = 50

_ESTIMATED: ContextVar[bool] = ContextVar("_ESTIMATED", default=True)


@contextmanager
def without_estimates() -> Iterator[None]:
    """Spares new dictionaries the power iteration, most of the time that it takes to build a small network.

    For where an estimate for another size of images follows, or the one that was saved with the weights.

    Examples:
        >>> with without_estimates():
        ...     UnitDictionary(3, 8, (5, 5)).lipschitz
        tensor(1.)
    """
    before = _ESTIMATED.set(False)
    try:
        yield
    finally:
        _ESTIMATED.reset(before)


class UnitDictionary(nn.Module):
    """A dictionary of `atoms` unit-norm atoms of shape ``(C, kh, kw)``; those of ``(C, kw)`` or ``(C,)`` have one row.

    Attributes:
        weight: The atoms, ``(atoms, C, kh, kw)``, or of fewer dimensions.
        lipschitz: Largest eigenvalue of A*A for the image size last given to `fit_image_size`, a 0-d buffer. It is 1
            where all atoms are zero: every step size is then as good, and it stays finite.
        eigenvector: Unit vector the next power iteration starts from, ``(1, C, H, W)``; not part of the state dict.

    `in_channels` is C, `kernel_size` ``(kh, kw)``, ``(kw,)`` or ``()``, and the other arguments are those of
    `ConvOperator`.
    """

    weight: nn.Parameter
    lipschitz: Tensor
    eigenvector: Tensor

    def __init__(
        self,
        in_channels: int,
        atoms: int,
        kernel_size: tuple[int, ...],
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.weight = nn.Parameter(torch.randn(atoms, in_channels, *kernel_size))
        self.register_buffer("lipschitz", torch.ones(()))
        self.register_buffer("eigenvector", torch.empty(0), persistent=False)
        with torch.no_grad():
            self._normalize_atoms()
        # Until the image size is known: an image of a few atoms' extent, on which all overlaps occur.
        extent = [3 * apart * taps for apart, taps in zip(dilation[2 - len(kernel_size) :], kernel_size, strict=True)]
        rows, columns = [1] * (2 - len(extent)) + extent
        self.fit_image_size((rows, columns))

    def extra_repr(self) -> str:
        """Shows the shape of the atoms and how they are placed."""
        atoms, *shape = self.weight.shape
        return f"{atoms} atoms of {'x'.join(map(str, shape))}, stride={self.stride}, padding={self.padding}"

    @property
    def operator(self) -> ConvOperator:
        """Analysis and synthesis with these atoms."""
        weight: Tensor = self.weight
        while weight.ndim < 4:
            weight = weight.unsqueeze(2)
        return ConvOperator(weight, self.stride, self.padding, self.dilation, matrix=self.weight.ndim == 2)

    @torch.no_grad()
    def fit_image_size(self, image_size: Pair) -> None:
        """Estimates `lipschitz` for images of this size, from a cold start."""
        self.eigenvector = self.operator.cold_start(image_size)
        if _ESTIMATED.get():
            self.update_lipschitz()

    @torch.no_grad()
    def update_lipschitz(self, iterations: int | None = None) -> None:
        """Estimates the largest eigenvalue of A*A by power iteration, warm-started (SDNet eq. 9 and 10).

        `iterations` are `POWER_ITERATIONS` at most if not given. On the meta device, where tensors have shapes but no
        values, there is nothing to estimate.
        """
        if self.weight.is_meta:
            return
        operator = self.operator
        _, self.eigenvector = operator.largest_eigenvalue(
            self.eigenvector, iterations or POWER_ITERATIONS, vector_tolerance=POWER_TOLERANCE
        )
        quotient = operator.analyse(self.eigenvector).square().sum()  # Rayleigh's, at the last vector
        self.lipschitz = torch.where(quotient == 0, torch.ones_like(quotient), quotient)

    @torch.no_grad()
    def project_parameters(self) -> None:
        """Scales every nonzero atom to unit norm (SDNet section 3.2) and updates `lipschitz`, in place."""
        self._normalize_atoms()
        self.update_lipschitz(warm_iterations(self.weight.device))

    def _normalize_atoms(self) -> None:
        each = tuple(range(1, self.weight.ndim))
        self.weight.div_(torch.linalg.vector_norm(self.weight, dim=each, keepdim=True).clamp_min(1e-12))
