"""What tests of attacks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.evaluation.attacks.plans import AttackRequest, attack_plan
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import Surrogate
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Record
from robustcsc.measurements.threats import ThreatModel


@pytest.fixture
def attack(model: LoadedModel, measure: Callable[..., list[Record]]) -> Callable[..., list[Record]]:
    """Measures attacks: the tiny model's if no other is named, in batches of 40."""

    def run(
        *steps: AttackStep,
        protocols: tuple[Protocol, ...] = (Protocol.PLAIN,),
        epsilon: float = 0.1,
        threat: ThreatModel | None = None,
        attacked: LoadedModel = model,
        surrogate: LoadedModel | None = None,
        settings: dict[str, Any] | None = None,
        **request: Any,
    ) -> list[Record]:
        other = None if surrogate is None else surrogate.subject
        named = None if other is None else Surrogate(model=other.model, weights=other.weights)
        asked = AttackRequest(
            steps=steps,
            threats=(threat or ThreatModel("linf", epsilon),),
            protocols=protocols,
            surrogate=named,
            **request,
        )
        return measure(
            attacked,
            lambda planner: attack_plan(planner, asked),
            **{"batch_size": 40, "surrogate": surrogate, **(settings or {})},
        )

    return run
