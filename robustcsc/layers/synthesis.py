"""Synthesis by a convolution's own filters: the transpose of ``conv2d``, for any stride, size and dilation."""

import torch
import torch.nn.functional as F
from torch import Tensor


def synthesize(
    codes: Tensor, weight: Tensor, image_size: tuple[int, int], *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """Returns ``A z``, where ``A*`` is ``conv2d`` with `weight` on images of `image_size`.

    With stride 1 it is computed as a convolution with the mirrored filters, which CPU kernels do faster.

    Args:
        codes: ``(N, k, h, w)``.
        weight: The filters, ``(k, C, kh, kw)``.
        image_size: Height and width of the result; several sizes share one code size when the stride is above 1.
        stride: As of the convolution, in both directions; so are `padding` and `dilation`.
        padding: As above.
        dilation: As above.

    Returns:
        ``(N, C, *image_size)``.
    """
    reach = [dilation * (size - 1) for size in weight.shape[2:]]
    if stride == 1 and padding <= min(reach):
        mirrored = weight.flip(2, 3).transpose(0, 1)
        return F.conv2d(codes, mirrored, padding=(reach[0] - padding, reach[1] - padding), dilation=dilation)
    missing = [
        size - ((positions - 1) * stride - 2 * padding + extent + 1)
        for size, positions, extent in zip(image_size, codes.shape[2:], reach, strict=True)
    ]
    return F.conv_transpose2d(codes, weight, None, stride, padding, missing, 1, dilation)


def fixed_pattern(channels: int, image_size: tuple[int, int]) -> Tensor:
    """Returns an image ``(1, channels, *image_size)`` for a power iteration to start from; nothing in it is random."""
    count = channels * image_size[0] * image_size[1]
    return (1 + torch.arange(count).mul(12.9898).sin()).view(1, channels, *image_size)


@torch.no_grad()
def power_iteration(
    weight: Tensor,
    image: Tensor,
    count: int,
    *,
    tolerance: float = 0.0,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> tuple[Tensor, Tensor]:
    """Returns an estimate of the largest eigenvalue of ``A A*``, 0-d, and the image of unit norm that belongs to it.

    Args:
        weight: The filters, ``(k, C, kh, kw)``.
        image: Where to start, ``(1, C, H, W)``, not 0.
        count: Number of iterations at most, at least 1.
        tolerance: It ends when an iteration raises the estimate by this share or less; 0: never before `count`.
        stride: As `synthesize`.
        padding: As `synthesize`.
        dilation: As `synthesize`.
    """
    size = (image.shape[2], image.shape[3])
    image = image / image.norm()
    norm = image.new_zeros(())
    for _ in range(count):
        codes = F.conv2d(image, weight, None, stride, padding, dilation)
        product = synthesize(codes, weight, size, stride=stride, padding=padding, dilation=dilation)
        previous, norm = norm, product.norm()
        if not norm > 0:  # filters of 0: every image is as good
            return norm, image
        image = product / norm
        if tolerance and norm <= (1 + tolerance) * previous:
            break
    return norm, image
