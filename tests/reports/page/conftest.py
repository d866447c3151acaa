from __future__ import annotations

from collections.abc import Callable

import pytest

from robustcsc.measurements.records import AttackDetails, BudgetDetails, Cost, CraftingDetails, Location, Record

RecordMaker = Callable[..., Record]


@pytest.fixture(scope="session")
def every_kind(
    clean: RecordMaker,
    corruption: RecordMaker,
    attack: RecordMaker,
    minimal: RecordMaker,
    universal: RecordMaker,
    control: RecordMaker,
    random_noise: RecordMaker,
) -> list[Record]:
    """One record of each kind, and several of some."""
    cost = Cost(attacked=3, forward_calls=60, gradient_calls=60)
    budget = BudgetDetails(levels=8, minimal=bytes([0, 7, 255]), cost=cost)
    crafted = CraftingDetails(converged=True, fooled=900, passes=2, file="uap.safetensors")
    return [
        clean(met=2, total=3, policy="train", lam=0.1, run='a "b", c'),
        corruption("fog", 3, met=1, total=3, policy="adaptive-image", fit="f00d", batch_size=64),
        corruption("fog", 3, met=1, total=3, source="official", pixels="8 bit", files="0a0b"),
        attack(outcomes=[True, False, True], epsilon=1 / 31, details=AttackDetails(cost=cost, rounded_correct=2)),
        attack("pgd:steps=40", "square", met=1, total=3, protocol="transfer", seed=5),
        minimal(met=1, total=3, details=budget),
        universal(met=2, total=3, details=crafted, location=Location(root="data", limit=3)),
        control(met=1, total=3, norm="l2", epsilon=0.5),
        random_noise(0.1, met=1, total=3, metric="fooling rate of correct images"),
    ]
