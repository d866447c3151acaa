"""The patch codes of SCN: the systems of all patches, in the ways that were tried, and a training step."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from row import Row, Timing, in_turn
from torch import Tensor

from robustcsc.layers import nonnegative
from robustcsc.layers.task_driven import implicit_beta
from robustcsc.models.catalog import build, default_spec

IMAGES, ATOMS, LENGTH, PLACES = 2, 64, 144, 1024
Solve = Callable[[Tensor, Tensor, Tensor], Tensor]


def rows() -> list[Row]:
    """Returns the rows."""
    torch.manual_seed(0)
    dictionary = torch.randn(LENGTH, ATOMS) / LENGTH
    gram, gradient = dictionary.T @ dictionary, torch.randn(IMAGES, ATOMS, PLACES)
    active = torch.randn(IMAGES, ATOMS, PLACES) > 0
    what = f"systems of {IMAGES * PLACES} patches, {ATOMS} atoms, half of them active (SCN's largest layer)"
    ours = nonnegative.active_solution(active, gradient, gram)
    found = []
    for name, solve, target in (
        ("Cholesky, padded to the largest active set, float64", cholesky, 0.25),
        ("Cholesky, every patch's masked matrix", masked_cholesky, None),
        ("LU, every patch's masked matrix", masked_lu, None),
        ("Gauss-Jordan over all patches, without torch.linalg", gauss_jordan, None),
        ("accelerated gradient steps, 100", accelerated, None),
    ):
        theirs = solve(active, gradient, gram)
        timing = in_turn(
            lambda: nonnegative.active_solution(active, gradient, gram),
            lambda solve=solve: solve(active, gradient, gram),  # type: ignore[misc]
            repeats=3,
        )
        note = f"largest relative difference {float((theirs - ours).norm() / ours.norm()):.1e}"
        found.append(Row.timed("patch_codes", what, name, timing, target, note=note))
    return [*found, *training_steps()]


def training_steps() -> list[Row]:
    """Returns how long a training step of SCN takes, beside its systems and beside Cholesky."""
    model = build(default_spec("scn", 10, (3, 32, 32))).train()
    images, labels = torch.rand(IMAGES, 3, 32, 32), torch.arange(IMAGES)
    spent = 0.0

    def timed(solve: Solve) -> Solve:
        def run(*given: Tensor) -> Tensor:
            nonlocal spent
            started = time.process_time()
            solved = solve(*given)
            spent += time.process_time() - started
            return solved

        return run

    def step(solve: Solve) -> tuple[float, float, float]:
        """Returns the seconds of the forward pass, the backward pass and its systems."""
        nonlocal spent
        spent, own = 0.0, nonnegative.active_solution
        nonnegative.active_solution = timed(solve)
        try:
            started = time.process_time()
            loss = F.cross_entropy(model(images), labels)
            middle = time.process_time()
            loss.backward()  # type: ignore[no-untyped-call]
            return middle - started, time.process_time() - middle, spent
        finally:
            nonnegative.active_solution = own

    pairs = [(step(nonnegative.active_solution), step(cholesky)) for _ in range(4)][1:]
    ours = [one for one, _ in pairs]
    share = Timing(tuple(it[2] for it in ours), tuple(it[0] + it[1] for it in ours))
    backward = Timing(tuple(it[1] for it in ours), tuple(other[1] for _, other in pairs))
    what = f"SCN, {IMAGES} CIFAR images: "
    forward = f"forward {sum(it[0] for it in ours) / len(ours):.2f} s"
    return [
        Row.timed(
            "patch_codes", what + "the systems of all patches", "the whole training step", share, 0.6, note=forward
        ),
        Row.timed("patch_codes", what + "backward pass", "by Cholesky, float64", backward, 0.25),
    ]


def cholesky(active: Tensor, gradient: Tensor, gram: Tensor) -> Tensor:
    """Solves as the layer of task-driven dictionary learning does."""
    root = torch.linalg.cholesky(gram.double() + 1e-9 * torch.eye(len(gram))).T.to(gram.dtype)
    flat = [it.transpose(1, 2).flatten(0, 1) for it in (active.to(gradient.dtype), gradient)]
    return implicit_beta(*flat, root, 1e-9).view(len(gradient), -1, len(gram)).transpose(1, 2)


def _systems(active: Tensor, gradient: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
    on = active.to(gradient.dtype).transpose(1, 2).flatten(0, 1)
    right = gradient.transpose(1, 2).flatten(0, 1) * on
    return gram * on[:, :, None] * on[:, None, :] + torch.diag_embed(1 - on), right


def _back(solved: Tensor, like: Tensor) -> Tensor:
    return solved.view(len(like), -1, like.shape[1]).transpose(1, 2)


def masked_cholesky(active: Tensor, gradient: Tensor, gram: Tensor) -> Tensor:
    """Factorises the Gram matrix of every patch, with the identity on what is not active."""
    systems, right = _systems(active, gradient, gram)
    return _back(torch.cholesky_solve(right[:, :, None], torch.linalg.cholesky(systems))[:, :, 0], gradient)


def masked_lu(active: Tensor, gradient: Tensor, gram: Tensor) -> Tensor:
    """Does the same by elimination with pivots."""
    systems, right = _systems(active, gradient, gram)
    return _back(torch.linalg.solve(systems, right), gradient)


def gauss_jordan(active: Tensor, gradient: Tensor, gram: Tensor) -> Tensor:
    """Eliminates row by row, for all patches at once."""
    systems, right = _systems(active, gradient, gram)
    table = torch.cat([systems, right[:, :, None]], 2)
    for row in range(len(gram)):
        pivot = table[:, row] / table[:, row, row, None]
        table -= table[:, :, row, None] * pivot[:, None, :]
        table[:, row] = pivot
    return _back(table[:, :, -1].contiguous(), gradient)


def accelerated(active: Tensor, gradient: Tensor, gram: Tensor) -> Tensor:
    """Takes accelerated gradient steps on the active sets."""
    scale = 1 / nonnegative.largest_eigenvalue_bound(gram)
    mask, solved = active.to(gradient.dtype), torch.zeros_like(gradient)
    before, matrix = solved, gram.expand(len(gradient), *gram.shape)
    for weight in nonnegative.extrapolation_weights("fista", 100):
        point = torch.lerp(before, solved, 1 + weight)
        before, solved = solved, point + scale * mask * (gradient - torch.bmm(matrix, point))
    return solved
