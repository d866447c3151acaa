r"""The block of Res-CSC: two layers of sparse coding, the second of which starts at the block's input.

Source: Zhang and Zhang, "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse
Coding" (Res-CSC), eq. 3-5 and figure 3.

The first layer takes one step of ISTA from 0, ``X = S(D1' X_{-1})`` (eq. 3); the second one step from ``X_{-1}``,

    S(D2' X + X_{-1} + c D2' D2 X_{-1})     (eq. 5),

where ``c = -L`` and the dictionary of the lasso is ``L D2``. A convolution is D2', its transpose D2, ReLU is S, and a
bias its threshold. With c = 0 this is the block of a ResNet.

Differences from the paper:
- c (`synthesis_weight`) is one learned scalar per block; the paper does not say how it is chosen. It starts at -1/8: 8
  is the largest eigenvalue of ``D2'D2`` for a large convolution with as many output as input channels and He et al.'s
  initial weights (``2 (1 + 1)^2``, the Marchenko-Pastur edge), so L is the Lipschitz constant of the lasso with
  dictionary ``L D2``. The gradient of ``1/2 ||X - D z||^2`` has no factor 2, so that of the paper's "2 lambda_max" is
  left out.
- Each convolution is followed by batch normalisation as in ResNet; the equations have none. The second one normalises
  ``D2' (X + c D2 X_{-1})``: D2' is linear, so eq. 5 costs only one transposed convolution more.
- Where the shape changes, ``X_{-1}`` is the ResNet's shortcut of the input.
"""

import torch
from torch import Tensor, nn

from robustcsc.layers.operator import ConvOperator
from robustcsc.layers.residual import conv, shortcut_path

#: Largest eigenvalue of a large convolution with as many output as input channels and He et al.'s initial weights.
INITIAL_EIGENVALUE = 8.0


class ResidualCSCBlock(nn.Module):
    """Two 3x3 layers of sparse coding: ``ReLU(BN2(D2'(X + c D2 s)) + s)``, where ``X = ReLU(BN1(D1' x))``.

    The start s is the shortcut of the input x. Arguments and parameters are those of
    `robustcsc.layers.residual.BasicBlock`, and c; with c = 0 it is that block.

    Attributes:
        synthesis_weight: c, 0-d, learned.

    Args:
        keep_start: Whether ``s`` is added at the end; without it this is the block of Res-CSC-Simplified (figure 3 C).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, *, keep_start: bool = True) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut_path(in_channels, channels, stride)
        self.relu = nn.ReLU(inplace=True)
        self.synthesis_weight = nn.Parameter(torch.tensor(-1 / INITIAL_EIGENVALUE))
        self.keep_start = keep_start

    def extra_repr(self) -> str:
        """Shows whether the start is added at the end."""
        return f"keep_start={self.keep_start}"

    def forward(self, images: Tensor) -> Tensor:
        """Returns the codes ``(N, channels, h, w)``, which are non-negative."""
        start = self.shortcut(images)
        signal = self.relu(self.bn1(self.conv1(images)))
        operator = ConvOperator(self.conv2.weight, padding=(1, 1), mirrored=True)
        synthesis = operator.synthesize(start, (signal.shape[2], signal.shape[3]))
        weight = self.synthesis_weight.to(signal.dtype)
        codes: Tensor = self.bn2(self.conv2(torch.addcmul(signal, synthesis, weight)))
        activated: Tensor = self.relu(codes + start if self.keep_start else codes)
        return activated
