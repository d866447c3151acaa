"""How numbers are rounded when a model is asked: as the precision says, whatever PyTorch's settings are.

Sources: PyTorch's documentation, "Automatic Mixed Precision", "Numerical accuracy" and "Reproducibility".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

_backends: Any = torch.backends  # some of it has no types
#: What may round the factors of float32 products: to TF32 on a GPU, to TF32 or bfloat16 in oneDNN on a CPU.
_PRODUCTS = (
    *(_backends.cuda.matmul, _backends.cudnn.conv, _backends.cudnn.rnn),
    *(_backends.mkldnn.matmul, _backends.mkldnn.conv, _backends.mkldnn.rnn),
)


class Bfloat16(nn.Module):
    """A classifier that computes in bfloat16 where autocast deems it safe; weights, images and logits are float32.

    Args:
        model: Images ``(N, C, H, W)`` to logits ``(N, K)``.

    Examples:
        >>> import torch
        >>> Bfloat16(nn.Linear(1, 1))(torch.ones(1, 1)).dtype
        torch.float32
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of images."""
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.model(images)
        return logits.float()


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Returns a block in which autocast rounds nothing, for iterations that need all digits.

    Devices without autocast, such as that of shapes without values, are left alone.

    Examples:
        >>> import torch
        >>> with torch.autocast("cpu", torch.bfloat16), without_autocast(torch.device("cpu")):
        ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
        torch.float32
    """
    return torch.autocast(device.type, enabled=False) if torch.amp.is_autocast_available(device.type) else nullcontext()


@contextmanager
def reproducible() -> Iterator[None]:
    """Lets no setting of the process decide how float32 is rounded, and has cuDNN add up in one order.

    Within the block, factors of float32 products keep all 24 bits (PyTorch lets cuDNN round them to the 11 of TF32 by
    default), and cuDNN neither measures which algorithm is fastest nor takes one whose sums depend on timing. All
    settings are put back afterwards.
    """
    cudnn = torch.backends.cudnn
    old, (products, convolutions) = [it.fp32_precision for it in _PRODUCTS], _older_settings()
    timed, ordered = cudnn.benchmark, cudnn.deterministic
    _set_products("highest", False, ["ieee"] * len(old))
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        _set_products(products, convolutions, old)
        cudnn.benchmark, cudnn.deterministic = timed, ordered


def rounds_to_tf32() -> bool:
    """Returns whether a GPU may round factors of float32 products to TF32 by the settings of this moment."""
    return any(it.fp32_precision == "tf32" for it in _PRODUCTS[:2])


def _older_settings() -> tuple[str | None, bool | None]:
    """Returns the older names of the settings of matrix products and of cuDNN; ``None`` if the newer ones rule them.

    PyTorch refuses to read an older setting that a newer one contradicts, and what is compiled reads it.
    """
    try:
        products = torch.get_float32_matmul_precision()
    except RuntimeError:
        products = None
    try:
        convolutions = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        convolutions = None
    return products, convolutions


def _set_products(products: str | None, convolutions: bool | None, precisions: list[str]) -> None:
    if products is not None:
        torch.set_float32_matmul_precision(products)
    if convolutions is not None:
        torch.backends.cudnn.allow_tf32 = convolutions
    for backend, precision in zip(_PRODUCTS, precisions, strict=True):
        backend.fp32_precision = precision
