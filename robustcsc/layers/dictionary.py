"""The convolutional dictionary: synthesis A, adjoint A*, and the Lipschitz constant of A*A.

Source: SDNet (Dai et al., NeurIPS 2022), eq. 2, 3, 7, 9 and 10.

Differences from the paper: the paper writes A as a convolution and A* as its transpose. Here, as in the authors' code,
A* is ``conv2d`` and A is ``conv_transpose2d``, so that a dictionary has the weight ``(atoms, C, k, k)`` of the
convolution it replaces, and any stride and image size works (the transpose is given the exact output size).
The power iteration runs on A A* (an image) instead of A* A (codes): both have the same largest eigenvalue, and an image
is smaller.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: SDNet appendix A: the power iteration stops when the update of the unit vector is smaller than this ...
POWER_TOLERANCE = sqrt(1e-5)
#: ... or after this many iterations.
POWER_ITERATIONS = 50


class ConvDictionary(nn.Module):
    """A dictionary of `atoms` unit-norm atoms of shape ``(C, k, k)``, placed at every position of a grid.

    Attributes:
        weight: The atoms, ``(atoms, C, kh, kw)``.
        lipschitz: Largest eigenvalue of A*A for the image size last given to `fit_image_size`, a 0-d buffer.
        eigenvector: Unit vector the next power iteration starts from, ``(1, C, H, W)``; not part of the state dict.

    Args:
        in_channels: Channels C of the images that are synthesised.
        atoms: Number of atoms, which is the number of code channels.
        kernel_size: Height and width of the atoms.
        stride: Distance between neighbouring positions of an atom.
        padding: By how much atoms may reach over the border of the image.
        dilation: Distance between neighbouring taps of an atom.
    """

    weight: nn.Parameter
    lipschitz: Tensor
    eigenvector: Tensor

    def __init__(
        self,
        in_channels: int,
        atoms: int,
        kernel_size: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.weight = nn.Parameter(torch.randn(atoms, in_channels, *kernel_size))
        self.register_buffer("lipschitz", torch.ones(()))
        self.register_buffer("eigenvector", torch.empty(0), persistent=False)
        with torch.no_grad():
            self._normalize_atoms()
        # Until the image size is known: an image of a few atoms' extent, on which all overlaps occur.
        self.fit_image_size((3 * dilation[0] * kernel_size[0], 3 * dilation[1] * kernel_size[1]))

    def extra_repr(self) -> str:
        """Shows the shape of the atoms and how they are placed."""
        atoms, channels, *size = self.weight.shape
        return f"{atoms} atoms of {channels}x{size[0]}x{size[1]}, stride={self.stride}, padding={self.padding}"

    def synthesize(self, codes: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Returns ``A z``: the superposition of atoms that `codes` describe (SDNet eq. 3).

        Args:
            codes: ``(N, atoms, h, w)``.
            image_size: Height and width of the result; several sizes share one code size when the stride is above 1.

        Returns:
            ``(N, C, *image_size)``.
        """
        missing = [
            size - ((positions - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
            for size, positions, stride, padding, dilation, kernel in zip(
                image_size,
                codes.shape[2:],
                self.stride,
                self.padding,
                self.dilation,
                self.weight.shape[2:],
                strict=True,
            )
        ]
        return F.conv_transpose2d(codes, self.weight, None, self.stride, self.padding, missing, 1, self.dilation)

    def adjoint(self, images: Tensor) -> Tensor:
        """Returns ``A* x``: the correlation of every atom with every position (SDNet eq. 7).

        Args:
            images: ``(N, C, H, W)``.

        Returns:
            ``(N, atoms, h, w)``, the output size of the corresponding ``nn.Conv2d``.
        """
        return F.conv2d(images, self.weight, None, self.stride, self.padding, self.dilation)

    @torch.no_grad()
    def fit_image_size(self, image_size: tuple[int, int]) -> None:
        """Estimates `lipschitz` for images of this size, from a cold start.

        A cold start is the all-ones image plus a fixed pattern, so that it is not orthogonal to the dominant
        eigenvector by symmetry and depends on nothing random.
        """
        channels = self.weight.shape[1]
        count = channels * image_size[0] * image_size[1]
        pattern = torch.arange(count, dtype=self.weight.dtype, device=self.weight.device).mul(12.9898).sin()
        self.eigenvector = (1 + pattern).view(1, channels, *image_size)
        self.update_lipschitz()

    @torch.no_grad()
    def update_lipschitz(self) -> None:
        """Estimates the largest eigenvalue of A*A by power iteration, warm-started (SDNet eq. 9 and 10).

        On the meta device, where tensors have shapes but no values, there is nothing to estimate.
        """
        if self.weight.is_meta:
            return
        vector = self.eigenvector / self.eigenvector.norm()
        image_size = (vector.shape[2], vector.shape[3])
        for _ in range(POWER_ITERATIONS):
            product = self.synthesize(self.adjoint(vector), image_size)
            previous, vector = vector, product / product.norm()
            if (vector - previous).norm() < POWER_TOLERANCE:
                break
        self.eigenvector = vector
        self.lipschitz = self.adjoint(vector).square().sum()

    @torch.no_grad()
    def project_parameters(self) -> None:
        """Scales every atom to unit norm (SDNet section 3.2) and updates `lipschitz`, in place."""
        self._normalize_atoms()
        self.update_lipschitz()

    def _normalize_atoms(self) -> None:
        self.weight.div_(torch.linalg.vector_norm(self.weight, dim=(1, 2, 3), keepdim=True).clamp_min(1e-12))
