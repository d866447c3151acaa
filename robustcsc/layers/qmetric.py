r"""Q-Metric ReLU: a recurrent layer that computes the proximity operator of an elastic net in a learned metric.

Source: Tang et al., "Deep Transform and Metric Learning Network" (DeTraMe-Net), arXiv:2002.07898: eq. 17-24, algorithms
1 and 2, appendix A.

Unrolls, from ``U = 0``, ``U <- ReLU(h * Z + W~ (U - Z) - b)``, which for ``Q = D'D + alpha I`` and the parameters that
`metric_parameters` returns converges to

    argmin_{U >= 0}  1/2 ||U - Z||_Q^2 + lambda ||U||_1 + beta / 2 ||U||^2.

| parameter | here | constraint set (algorithm 2) |
|---|---|---|
| W~ | `weight`, a convolution in `blocks` groups | the centre tap from a channel to itself is 0 |
| h | `gain`, one per channel | [0, 1] |
| b | `threshold`, one per channel | at least 0 |

Differences from the paper:
- Eq. 24 multiplies ``q_il / (q_ii + beta)`` by a symbol that is 1 for ``i = l``. It must be 0 there and 1 elsewhere for
  the fixed point to solve eq. 22, as "zeros on its main diagonal" in appendix A says.
- Eq. 28 has the spectral norm of ``Theta^(-1/2) Q Theta^(1/2)``; it must be ``Theta^(-1/2) Q Theta^(-1/2)``. The
  condition here is ``gamma Q < 2 Theta + gamma beta`` (as quadratic forms), which is weaker and still makes the
  iteration a contraction.
- Eq. 20 updates all coordinates at once, the proof of theorem 4.1 one after the other. Without the condition above, for
  example with many coherent atoms and a small alpha, simultaneous updates need not converge.
- "Randomly initialize" (algorithm 2) names no distribution. Here W~ and b start at 0 and h at 1, so the layer starts as
  the ReLU it replaces and a network as the one it is compared with. The gradient of W~ is not 0 there.
- At the border of an image, differences ``U - Z`` outside it count as 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Side of the periodic image on which a convolutional metric's largest eigenvalue is computed.
SPECTRUM_SIDE = 64


def q_metric_relu(
    values: Tensor, weight: Tensor, gain: Tensor, threshold: Tensor, num_steps: int, *, blocks: int = 1
) -> Tensor:
    """Returns ``U`` after `num_steps` iterations of ``U <- ReLU(gain * Z + W~ (U - Z) - threshold)`` from ``U = 0``.

    The part that is constant over the iterations, ``gain * Z - W~ Z - threshold``, is one convolution, computed once.
    Source: DeTraMe-Net, eq. 20 and algorithm 1.

    Args:
        values: Z, ``(N, k)`` or ``(N, k, H, W)``.
        weight: W~, ``(k, k / blocks, kh, kw)`` with odd kh and kw.
        gain: h, ``(k,)``.
        threshold: b, ``(k,)``.
        num_steps: Number of iterations, at least 1.
        blocks: Number of groups of channels; W~ links channels within a group only.
    """
    if values.ndim == 2:
        return q_metric_relu(values[:, :, None, None], weight, gain, threshold, num_steps, blocks=blocks).flatten(1)
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    drive = F.conv2d(values, _on_diagonal(gain, weight) - weight, -threshold, padding=padding, groups=blocks)
    codes = drive.relu()
    for _ in range(num_steps - 1):
        codes = F.conv2d(codes, weight, padding=padding, groups=blocks).add_(drive).relu_()
    return codes


def metric(dictionary: Tensor, alpha: float) -> Tensor:
    """Returns ``Q = D'D + alpha I`` as the weight of a convolution (DeTraMe-Net, eq. 12).

    Args:
        dictionary: D, either ``(m, k)`` with one atom per column, or convolutional, ``(k, C, kh, kw)``: atoms that are
            placed at every position, extending beyond the border (``conv_transpose2d`` without padding is D).
        alpha: Weight of the identity, at least 0.

    Returns:
        ``(k, k, 1, 1)``, or the correlations of all atoms at all distances, ``(k, k, 2 kh - 1, 2 kw - 1)``.
    """
    atoms = dictionary.T[:, :, None, None] if dictionary.ndim == 2 else dictionary
    padding = (atoms.shape[2] - 1, atoms.shape[3] - 1)
    products = F.conv2d(atoms, atoms, padding=padding)
    return products + _on_diagonal(alpha * products.new_ones(len(products)), products)


def metric_parameters(
    quadratic: Tensor, *, beta: float, lam: float, theta: Tensor | None = None, gamma: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns W~, h and b with which eq. 20 computes the proximity operator in the metric Q.

    ``W~ = (Theta + gamma beta)^-1 (Theta - gamma Q)``, ``h = theta / (theta + gamma beta)``,
    ``b = gamma lambda / (theta + gamma beta)``. Source: DeTraMe-Net, eq. 34, and eq. 24 for the defaults.

    Args:
        quadratic: Q as the weight of a convolution, ``(k, k, kh, kw)``, symmetric and positive definite.
        beta: Weight of half the squared norm, at least 0.
        lam: Weight of the l1 norm, at least 0.
        theta: Diagonal of the preconditioner, ``(k,)``, positive; by default that of Q.
        gamma: Step size, positive.

    Raises:
        ValueError: If the iteration is not a contraction and may not converge.
    """
    middle = (quadratic.shape[2] // 2, quadratic.shape[3] // 2)
    theta = quadratic[:, :, *middle].diagonal() if theta is None else theta
    largest = _largest_relative_eigenvalue(gamma * quadratic, 2 * theta + gamma * beta)
    if not largest < 1:
        raise ValueError(
            f"the iteration may not converge, because gamma Q is up to {largest:.3g} times 2 Theta + gamma beta: "
            f"give gamma below {gamma / largest:.3g}, or a larger theta, alpha or beta"
        )
    scale = 1 / (theta + gamma * beta)
    weight = scale[:, None, None, None] * (_on_diagonal(theta, quadratic) - gamma * quadratic)
    return weight, scale * theta, scale * gamma * lam


def responses(weight: Tensor, side: int) -> Tensor:
    """Returns the response of a convolution to each frequency of a periodic image, ``(frequencies, k, k)``, complex.

    Args:
        weight: ``(k, k, kh, kw)`` with odd kh and kw.
        side: Height and width of the image. It is 1 along a side of the weight that is 1, and as long as a longer one.
    """
    height, width = weight.shape[2:]
    sides = [1 if length == 1 else max(side, length) for length in (height, width)]
    padded = F.pad(weight, (0, sides[1] - width, 0, sides[0] - height))
    spectrum: Tensor = torch.fft.fft2(padded.roll((-(height // 2), -(width // 2)), (2, 3))).conj_physical()
    return spectrum.permute(2, 3, 0, 1).flatten(0, 1)


class QMetricReLU(nn.Module):
    """A non-separable activation: the ReLU of a linear recurrence over channels and neighbouring pixels.

    It takes vectors ``(N, k)`` or images ``(N, k, H, W)``. For vectors, with `kernel_size` 1, it is the dense form with
    one matrix per block.

    Attributes:
        weight: W~, ``(k, k / blocks, kh, kw)``.
        gain: h, ``(k,)``, in [0, 1].
        threshold: b, ``(k,)``, at least 0.

    Args:
        channels: Number of channels k.
        kernel_size: Height and width of the filters of W~, odd.
        num_steps: Number of iterations, at least 1.
        blocks: Number of diagonal blocks of W~; divides `channels`.

    Raises:
        ValueError: If the kernel size is even, `num_steps` below 1, or `blocks` does not divide `channels`.
    """

    def __init__(
        self, channels: int, kernel_size: int | tuple[int, int] = 1, *, num_steps: int = 2, blocks: int = 1
    ) -> None:
        super().__init__()
        size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        if num_steps < 1 or not all(side % 2 for side in size) or blocks < 1 or channels % blocks:
            raise ValueError(
                "num_steps must be at least 1, kernel_size odd and blocks a divisor of channels, "
                f"got {num_steps}, {size} and {blocks} of {channels}"
            )
        self.num_steps, self.blocks = num_steps, blocks
        self.weight = nn.Parameter(torch.zeros(channels, channels // blocks, *size))
        self.gain = nn.Parameter(torch.ones(channels))
        self.threshold = nn.Parameter(torch.zeros(channels))

    @classmethod
    def from_dictionary(
        cls,
        dictionary: Tensor,
        *,
        alpha: float,
        beta: float,
        lam: float,
        num_steps: int,
        theta: Tensor | None = None,
        gamma: float = 1.0,
    ) -> QMetricReLU:
        """Returns the layer that computes the proximity operator in the metric ``D'D + alpha I`` (theorem 4.1).

        If `theta` or `gamma` differ from their defaults, W~ has a diagonal (appendix A), which the projection during
        training sets to 0.

        Args: as `metric`, `metric_parameters` and the layer.

        Raises:
            ValueError: If the iteration may not converge.
        """
        parameters = metric_parameters(metric(dictionary, alpha), beta=beta, lam=lam, theta=theta, gamma=gamma)
        channels, _, height, width = parameters[0].shape
        layer = cls(channels, (height, width), num_steps=num_steps).to(dictionary.device, dictionary.dtype)
        with torch.no_grad():
            for own, computed in zip((layer.weight, layer.gain, layer.threshold), parameters, strict=True):
                own.copy_(computed)
        return layer

    def extra_repr(self) -> str:
        """Shows the size of the recurrence."""
        channels, _, height, width = self.weight.shape
        return f"{channels}, kernel_size=({height}, {width}), num_steps={self.num_steps}, blocks={self.blocks}"

    def forward(self, values: Tensor) -> Tensor:
        """Returns the activations, non-negative and of the shape of `values`: ``(N, k)`` or ``(N, k, H, W)``."""
        return q_metric_relu(values, self.weight, self.gain, self.threshold, self.num_steps, blocks=self.blocks)

    @torch.no_grad()
    def project_parameters(self) -> None:
        """Projects W~, h and b onto their constraint sets, in place (DeTraMe-Net, algorithm 2)."""
        self.weight.mul_(1 - _on_diagonal(torch.ones_like(self.gain), self.weight))
        self.gain.clamp_(0, 1)
        self.threshold.clamp_(min=0)


def _on_diagonal(values: Tensor, like: Tensor) -> Tensor:
    """Returns a convolution weight of the shape of `like` that multiplies each channel by its entry of `values`."""
    channels, per_block, height, width = like.shape
    places = torch.arange(channels, device=like.device)
    own = places[:, None] % per_block == places[:per_block]
    return F.pad((values[:, None] * own)[:, :, None, None], (width // 2, width // 2, height // 2, height // 2))


def _largest_relative_eigenvalue(quadratic: Tensor, diagonal: Tensor) -> float:
    """Returns the largest eigenvalue of ``diag^(-1/2) Q diag^(-1/2)`` for periodic images of side `SPECTRUM_SIDE`.

    That of a smaller zero-padded image is no larger, because its Q is a compression of the periodic one.
    """
    scale = diagonal.rsqrt()
    scaled = scale[:, None, None, None] * quadratic * scale[:, None, None]
    return float(torch.linalg.eigvalsh(responses(scaled, SPECTRUM_SIDE)).max())
