from __future__ import annotations

from collections.abc import Callable

import pytest

from robustcsc.evaluation.attacks.plans import suite_plan
from robustcsc.evaluation.attacks.suites import SUITES, Round, Suite
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import Surrogate
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Record
from robustcsc.measurements.threats import NORMS

QUICK = AttackStep.of("pgd", steps=2, step_size=0.05)
SMALL = Suite(
    words="",
    rounds=(
        Round(protocol=Protocol.PLAIN, attacks=(QUICK, AttackStep.of("cw", steps=2, searches=1))),
        Round(protocol=Protocol.STATIC, attacks=(QUICK,)),
        Round(protocol=Protocol.TRANSFER, attacks=(QUICK,)),
    ),
    epsilon={"linf": 0.05, "l2": 0.3},
    curve={},
)


@pytest.mark.usefixtures("unchecked")
def test_a_suite_is_measured_and_resumed(
    model: LoadedModel, plain: LoadedModel, measure: Callable[..., list[Record]]
) -> None:
    other = Surrogate(model=plain.subject.model, weights=plain.subject.weights)

    def run() -> list[Record]:
        return measure(
            model,
            lambda planner: suite_plan(planner, SMALL, NORMS, surrogate=other),
            batch_size=60,
            surrogate=plain,
        )

    whole = run()
    protocols = [record.measurement.perturbation.protocol for record in whole]  # type: ignore[union-attr]
    transfer = [Protocol.TRANSFER] * 2  # the training lambda, and the adaptive policy
    assert protocols == [
        *(Protocol.PLAIN, Protocol.STATIC, *transfer),
        *(Protocol.PLAIN, Protocol.PLAIN, Protocol.STATIC, *transfer),
    ]
    assert run() == whole


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_what_exists(name: str) -> None:
    for each in (*SUITES[name].rounds, *SUITES[name].curve_rounds):
        assert bool(each.multiples) == (each.protocol in (Protocol.FIXED, Protocol.GRID))
        for norm in NORMS:  # no round is empty
            assert any(norm in attack.kind.norms for attack in each.attacks)
        if each.protocol is Protocol.BLACK_BOX:
            assert not any(attack.kind.gradients for attack in each.attacks)
    assert set(SUITES[name].epsilon) == set(NORMS)


def test_the_paper_suite_is_what_attack_pgd_measures_by_default() -> None:
    suite, pgd = SUITES["paper"], AttackStep.of("pgd")
    assert [(each.protocol, each.attacks) for each in suite.rounds] == [
        (Protocol.PLAIN, (pgd,)),
        (Protocol.STATIC, (pgd,)),
        (Protocol.TUNED, (pgd,)),
        (Protocol.ADAPTIVE, (pgd,)),
    ]
    assert suite.epsilon == {"linf": 8 / 255, "l2": 0.5}
