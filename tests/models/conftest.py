from collections.abc import Callable, Sequence

import pytest

ParameterCount = Callable[..., int]


@pytest.fixture
def residual_parameters() -> ParameterCount:
    """Counts the parameters of a residual network from the description in the paper (He et al. 2016), not its code."""

    def count(
        *, stem: int, first: int, widths: Sequence[int], depths: Sequence[int], classes: int, shortcut: bool = True
    ) -> int:
        """`stem` is its kernel size, `first` its output channels; images have 3 channels."""
        total = 3 * first * stem**2 + 2 * first  # the convolution; weight and bias of the batch normalisation
        channels = first
        for width, depth in zip(widths, depths, strict=True):
            if shortcut and channels != width:
                total += channels * width + 2 * width  # 1x1 shortcut
            total += 9 * channels * width + 9 * width**2 + 4 * width  # first block
            total += (depth - 1) * (18 * width**2 + 4 * width)  # the others
            channels = width
        return total + channels * classes + classes  # head

    return count
