"""A small cell, and its equilibrium and gradients by torchdeq.

`python tests/layers/torchdeq_reference.py` writes them; torchdeq 0.1.0 (locuslab/torchdeq) is installed for this only.
Its last release is of 2023.
"""

import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d

FILE = Path(__file__).with_name("torchdeq_reference.json")
SHAPE = (3, 4, 5, 5)


def wave(*shape: int, pace: float) -> Tensor:
    """Returns numbers in [-1, 1] that look random and are the same everywhere."""
    count = torch.Size(shape).numel()
    return torch.sin(pace * torch.arange(1, count + 1, dtype=torch.float64) ** 2).view(shape)


def leaves() -> tuple[Tensor, Tensor]:
    """Returns the filters ``(4, 4, 3, 3)`` of the cell and what is injected into it, of `SHAPE`, with gradients."""
    return (0.1 * wave(4, 4, 3, 3, pace=0.7)).requires_grad_(), wave(*SHAPE, pace=0.3).requires_grad_()


def cell(state: Tensor, filters: Tensor, injected: Tensor) -> Tensor:
    """Returns the next state, of `SHAPE`."""
    return torch.tanh(conv2d(state, filters, padding=1) + injected + 0.5 * state.mean((2, 3), keepdim=True))


def weights() -> Tensor:
    """Returns the weights of the sum of which the gradients are taken, of `SHAPE`."""
    return wave(*SHAPE, pace=0.11)


def reference() -> dict[str, list[float]]:
    """Returns the equilibrium and the gradients of its weighted sum, flat."""
    from torchdeq import get_deq  # type: ignore[import-not-found]

    filters, injected = leaves()
    deq = get_deq(
        f_solver="broyden", b_solver="broyden", f_max_iter=60, b_max_iter=60, f_tol=1e-12, b_tol=1e-12, ift=True
    )
    found = deq.train()(lambda state: cell(state, filters, injected), torch.zeros(SHAPE, dtype=torch.float64))[0][-1]
    gradients = torch.autograd.grad((weights() * found).sum(), (filters, injected))
    names = ("equilibrium", "filters", "injected")
    return {name: it.flatten().tolist() for name, it in zip(names, (found, *gradients), strict=True)}


if __name__ == "__main__":
    content = {name: [round(it, 9) for it in values] for name, values in reference().items()}
    FILE.write_text(json.dumps(content) + "\n", "utf-8")
