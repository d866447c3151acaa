from __future__ import annotations

import pytest

from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.evaluation.fooling.plans import noise_plan, uap_plan
from robustcsc.evaluation.plan import FOOLING_METRICS, ModelFacts, Planner
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Crafting, RandomControl, RandomNoise, Universal
from robustcsc.measurements.policies import Adaptive, FixedLambda, NoLambda, Scope, TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Images, Subject
from robustcsc.measurements.threats import ThreatModel

LINF, L2 = ThreatModel("linf", 0.25), ThreatModel("l2", 2.0)
CRAFTING = Crafting(images="feed", count=40, delta=0.2, passes=2, batch_size=20)
IMAGES = Images(dataset="digits", split="test", fingerprint="fade", count=60)


@pytest.fixture
def planner(fit: LambdaFit) -> Planner:
    subject = Subject(run="r", model="tiny", weights="5d")
    model = ModelFacts(subject=subject, training_lambdas=(0.1,), fits={"gaussian": fit})
    return Planner(model=model, images=IMAGES, batch_size=40)


def test_controls_of_the_same_norm_stand_beside_each_perturbation(planner: Planner) -> None:
    chains = uap_plan(planner, CRAFTING, (LINF, L2), (Protocol.PLAIN,), (0, 7))
    expected: list[Universal | RandomControl] = []
    for threat in (LINF, L2):
        expected.append(Universal(threat=threat, protocol=Protocol.PLAIN, crafting=CRAFTING))
        for name in ("random-sign", "gaussian"):
            for seed in (0, 7):
                control = RandomControl(name=name, threat=threat, protocol=Protocol.PLAIN, seed=seed)
                expected.append(control)
    assert [cell.perturbation for (cell,) in chains] == expected
    for (cell,) in chains:
        assert tuple(each.metric for each in cell.measurements) == FOOLING_METRICS
        assert {each.batch_size for each in cell.measurements} == {None}


def test_controls_can_stand_alone(planner: Planner) -> None:
    chains = uap_plan(planner, None, (LINF,), (Protocol.PLAIN,), (0,))
    assert [type(cell.perturbation) for (cell,) in chains] == [RandomControl, RandomControl]


def test_protocols_are_scored_as_they_say(planner: Planner, fit: LambdaFit) -> None:
    protocols = (Protocol.PLAIN, Protocol.STATIC, Protocol.ADAPTIVE)
    chains = uap_plan(planner, CRAFTING, (LINF,), protocols, ())
    assert [cell.measurements[0].policy for (cell,) in chains] == [
        TrainingLambda(),
        Adaptive(scope=Scope.DATASET, fit=fit.digest),
        Adaptive(scope=Scope.IMAGE, fit=fit.digest),
    ]
    plain = ModelFacts(subject=planner.model.subject, training_lambdas=())
    ((cell,),) = uap_plan(Planner(model=plain, images=IMAGES, batch_size=40), CRAFTING, (LINF,), protocols[:1], ())
    assert cell.measurements[0].policy == NoLambda()
    with pytest.raises(PolicyError, match="no CSC layer"):
        uap_plan(Planner(model=plain, images=IMAGES, batch_size=40), CRAFTING, (LINF,), protocols[1:], ())


@pytest.mark.parametrize("protocol", [Protocol.FIXED, Protocol.TRANSFER, Protocol.GRID, Protocol.BLACK_BOX])
def test_protocols_that_say_nothing_about_crafting_are_refused(protocol: Protocol, planner: Planner) -> None:
    with pytest.raises(UnknownNameError, match=f"'{protocol}': choose one of adaptive, plain, static"):
        uap_plan(planner, CRAFTING, (LINF,), (protocol,), ())


def test_noise_of_each_energy_and_seed_is_measured_under_each_policy(planner: Planner) -> None:
    policies = (TrainingLambda(), FixedLambda(0.5))
    chains = noise_plan(planner, (0.05, 0.4), policies, (0, 1))
    found = [(cell.measurements[0].policy, cell.perturbation) for (cell,) in chains]
    assert found == [
        (policy, RandomNoise(rho=rho, seed=seed)) for policy in policies for rho in (0.05, 0.4) for seed in (0, 1)
    ]
