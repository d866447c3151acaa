from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustcsc.layers.prox import nonnegative_soft_threshold, ridge, soft_threshold

STEP = 1e-3
#: Candidates of the global search; they depend on nothing that is tested.
GRID = np.arange(-10_000, 10_001) * STEP

values = st.floats(-9, 9)
thresholds = st.floats(0, 5)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@settings(max_examples=100, deadline=None)
@given(value=values, threshold=thresholds, nonnegative=st.booleans(), weight=st.sampled_from([0.0, 0.3, 2.0]))
def test_every_prox_minimises_its_objective_among_all_candidates(
    value: float, threshold: float, nonnegative: bool, weight: float
) -> None:
    candidates = GRID[GRID >= 0] if nonnegative else GRID
    plain = nonnegative_soft_threshold if nonnegative else soft_threshold

    def objective(z: Any) -> Any:
        return threshold * np.abs(z) + weight * z**2 / 2 + (z - value) ** 2 / 2

    found = ridge(plain(scalar(value), threshold), weight).item()
    costs = objective(candidates)
    assert not nonnegative or found >= 0
    assert objective(found) <= costs.min() + 1e-12
    assert abs(found - candidates[costs.argmin()]) <= STEP


@settings(deadline=None)
@given(value=values, threshold=thresholds)
def test_soft_thresholds_and_their_conjugates_add_up_to_the_identity(value: float, threshold: float) -> None:
    # Moreau: v = prox_g(v) + prox_g*(v). The conjugate of t|z| is the indicator of [-t, t], whose prox clips; over
    # z >= 0 it is the indicator of (-inf, t].
    assert soft_threshold(scalar(value), threshold).item() + min(max(value, -threshold), threshold) == pytest.approx(
        value, abs=1e-12
    )
    assert nonnegative_soft_threshold(scalar(value), threshold).item() + min(value, threshold) == pytest.approx(
        value, abs=1e-12
    )


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(values, values), min_size=1, max_size=5),
    threshold=thresholds,
    nonnegative=st.booleans(),
)
def test_no_prox_moves_two_points_apart(pairs: list[tuple[float, float]], threshold: float, nonnegative: bool) -> None:
    first, second = torch.tensor(pairs, dtype=torch.float64).T
    plain = nonnegative_soft_threshold if nonnegative else soft_threshold

    distance = (first - second).norm().item()
    assert (plain(first, threshold) - plain(second, threshold)).norm().item() <= distance * (1 + 1e-12)


@given(value=st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_threshold_zero_changes_nothing_but_the_constraint(value: float) -> None:
    assert soft_threshold(scalar(value), 0).item() == value
    assert nonnegative_soft_threshold(scalar(value), 0).item() == max(value, 0)


@pytest.mark.parametrize("prox", [soft_threshold, nonnegative_soft_threshold])
def test_a_threshold_per_image_acts_on_its_image_alone(prox: Callable[[Tensor, Tensor | float], Tensor]) -> None:
    images = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    levels = [0.0, 0.5, 10.0]
    batch = prox(images, torch.tensor(levels).view(-1, 1, 1, 1))
    for image, level, result in zip(images, levels, batch, strict=True):
        assert torch.equal(result, prox(image, level))
    assert torch.count_nonzero(batch[1]) > 0
    assert torch.count_nonzero(batch[2]) == 0
