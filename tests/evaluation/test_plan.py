"""What is to be measured: policies, protocols and cells, without a model or an image at hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.evaluation.plan import FOOLING_METRICS, ModelFacts, Planner, Target
from robustcsc.evaluation.targets import check_protocol, targets
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import replace as replace_fact
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import (
    Attack,
    Clean,
    Corruption,
    MinimalBudget,
    RandomNoise,
    SeverityTable,
)
from robustcsc.measurements.policies import (
    Adaptive,
    Blind,
    FixedLambda,
    NoLambda,
    Oracle,
    Scope,
    TrainingLambda,
    WorstOf,
)
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Images, Metric, Subject
from robustcsc.measurements.threats import ThreatModel

TABLE = SeverityTable(name="cifar10_c", digest="1a2b3c4d")
IMAGES = Images(dataset="digits", split="test", fingerprint="feed", count=60)
GRID = tuple(k / 10 for k in range(1, 16))
DATASET, BATCH, IMAGE = (Adaptive(scope=scope) for scope in (Scope.DATASET, Scope.BATCH, Scope.IMAGE))
LINF = ThreatModel("linf", 0.1)


@pytest.fixture
def facts(fit: LambdaFit) -> ModelFacts:
    subject = Subject(run="r", model="tiny", weights="5d")
    return ModelFacts(subject=subject, training_lambdas=(0.1,), fits={"gaussian": fit})


@pytest.fixture
def unfitted(facts: ModelFacts) -> ModelFacts:
    return replace(facts, fits={})


@pytest.fixture
def without_lambda() -> ModelFacts:
    return ModelFacts(subject=Subject(run="p", model="linear", weights="11"), training_lambdas=())


@pytest.fixture
def planner(facts: ModelFacts) -> Planner:
    return Planner(model=facts, images=IMAGES, batch_size=7)


def test_default_policies_are_those_that_suit(
    facts: ModelFacts, unfitted: ModelFacts, without_lambda: ModelFacts
) -> None:
    assert facts.policies(()) == (TrainingLambda(), DATASET)
    assert unfitted.policies(()) == (TrainingLambda(),)
    assert without_lambda.policies(()) == without_lambda.policies(("train",)) == (NoLambda(),)
    assert (facts.own_policy, without_lambda.own_policy) == (TrainingLambda(), NoLambda())


def test_grid_stands_for_every_value_once(facts: ModelFacts) -> None:
    values = tuple(map(FixedLambda, GRID))
    assert facts.policies(("grid",)) == values
    others = [value for value in values if value != FixedLambda(0.5)]
    assert facts.policies(("train", "fixed=0.50", "grid", TrainingLambda())) == (
        TrainingLambda(),
        FixedLambda(0.5),
        *others,
    )


def test_policies_that_cannot_be_measured_are_refused(
    facts: ModelFacts, unfitted: ModelFacts, without_lambda: ModelFacts
) -> None:
    for unknown in ("adaptve-image", "none"):
        with pytest.raises(UnknownNameError, match="lambda policy"):
            facts.policies((unknown,))
    for policy in ("adaptive", "fixed=0.5", "grid", "oracle", IMAGE):
        with pytest.raises(PolicyError, match="no CSC layer"):
            without_lambda.policies((policy,))
    for policy in ("adaptive", "adaptive-batch", "adaptive-image"):
        with pytest.raises(PolicyError, match="robustcsc fit-lambda --run r"):
            unfitted.policies((policy,))


def test_lambdas_per_layer_are_as_many_as_the_layers(facts: ModelFacts) -> None:
    several = replace(facts, training_lambdas=(0.1, 0.1, 0.1))
    assert several.policies(("fixed=0.3,0.1,0.2", "fixed=0.3")) == (FixedLambda((0.3, 0.1, 0.2)), FixedLambda(0.3))
    assert several.lam0 == 0.1
    with pytest.raises(PolicyError, match=r"fixed=0\.3,0\.1 has 2 lambdas, but \S+ has 3 layers with a lambda"):
        several.policies(("fixed=0.3,0.1",))
    with pytest.raises(PolicyError, match="has 1 layer with a lambda"):
        facts.policies((FixedLambda((0.3, 0.1)),))


def test_different_training_lambdas_are_refused_where_one_is_needed(facts: ModelFacts) -> None:
    several = replace(facts, training_lambdas=(0.1, 0.3))
    assert several.has_lambda
    with pytest.raises(PolicyError, match=r"different training lambdas \(0\.1 to 0\.3\)"):
        several.policies(("grid",))


def test_the_fit_is_that_of_the_noise_then_pooled_then_gaussian_then_any(facts: ModelFacts, fit: LambdaFit) -> None:
    fits = {name: replace_fact(fit, noise=name) for name in ("gaussian", "shot", "speckle", "pooled")}

    def chosen(names: tuple[str, ...], corruption: str | None) -> str:
        return replace(facts, fits={name: fits[name] for name in names}).fit_for(DATASET, corruption).noise

    everything = ("gaussian", "shot", "speckle", "pooled")
    assert chosen(everything, "shot_noise") == "shot"
    assert chosen(everything, "impulse_noise") == chosen(everything, "fog") == chosen(everything, None) == "pooled"
    assert chosen(("shot", "gaussian"), "fog") == "gaussian"
    assert chosen(("shot", "speckle"), None) == "shot"
    with pytest.raises(PolicyError, match="fit-lambda"):
        replace(facts, fits={}).fit_for(DATASET, "fog")


def test_a_policy_gets_the_fit_that_belongs_to_what_is_done(facts: ModelFacts, fit: LambdaFit) -> None:
    fits = {"shot": replace_fact(fit, noise="shot"), "pooled": replace_fact(fit, noise="pooled")}
    known = replace(facts, fits=fits)
    shot = Corruption(name="shot_noise", severity=1, table=TABLE)
    assert known.resolved(IMAGE, shot) == Adaptive(scope=Scope.IMAGE, fit=fits["shot"].digest)
    assert known.resolved(IMAGE, Clean()) == Adaptive(scope=Scope.IMAGE, fit=fits["pooled"].digest)
    asked = Adaptive(scope=Scope.IMAGE, fit=fits["pooled"].digest)
    assert known.resolved(asked, shot) == asked
    assert known.resolved(Oracle(), shot) == Oracle()
    assert known.fit_by_digest(fits["shot"].digest) is fits["shot"]
    with pytest.raises(PolicyError, match="no lambda fit 0123456789ab"):
        known.fit_by_digest("0123456789ab")


def test_cells_hold_one_measurement_for_each_policy(planner: Planner, fit: LambdaFit) -> None:
    ((cell,),) = planner.sweep([Corruption(name="fog", severity=2, table=TABLE)], (TrainingLambda(), IMAGE))
    for measurement in cell.measurements:
        assert (measurement.subject, measurement.images) == (planner.model.subject, IMAGES)
        assert measurement.perturbation == cell.perturbation == Corruption(name="fog", severity=2, table=TABLE)
        assert (measurement.metric, measurement.batch_size) == (Metric.ACCURACY, None)
    fitted = Adaptive(scope=Scope.IMAGE, fit=fit.digest)
    assert [measurement.policy for measurement in cell.measurements] == [TrainingLambda(), fitted]


@pytest.mark.parametrize(("policy", "expected"), [(TrainingLambda(), None), (DATASET, None), (IMAGE, None), (BATCH, 7)])
def test_the_batch_size_is_part_of_a_cell_where_lambda_depends_on_it(
    policy: TrainingLambda | Adaptive, expected: int | None, planner: Planner
) -> None:
    for (cell,) in (planner.clean([policy]), planner.fooling(RandomNoise(rho=0.1), policy)):
        assert {measurement.batch_size for measurement in cell.measurements} == {expected}


def test_the_batch_size_is_part_of_every_attack(planner: Planner) -> None:
    (target,) = targets(planner.model, Protocol.PLAIN)
    attack = Attack(steps=(AttackStep.of("pgd"),), threat=LINF, protocol=Protocol.PLAIN)
    search = MinimalBudget(step=AttackStep.of("pgd"), threat=LINF, protocol=Protocol.PLAIN)
    for (cell,) in (planner.attacks([attack], target), planner.attacks([search], target)):
        assert cell.measurements[0].batch_size == 7


def test_changed_predictions_are_counted_in_two_ways(planner: Planner) -> None:
    (cell,) = planner.fooling(RandomNoise(rho=0.1), TrainingLambda())
    assert tuple(measurement.metric for measurement in cell.measurements) == FOOLING_METRICS
    assert FOOLING_METRICS == (Metric.FOOLING, Metric.FOOLING_OF_CORRECT)


def test_protocols_are_scored_as_their_table_says(facts: ModelFacts) -> None:
    def found(protocol: Protocol, lambdas: tuple[float, ...] | None = None) -> list[Target]:
        return targets(facts, protocol, lambdas)

    assert found(Protocol.PLAIN) == [Target(Protocol.PLAIN, (TrainingLambda(),))]
    assert found(Protocol.STATIC) == [Target(Protocol.STATIC, (DATASET,))]
    assert found(Protocol.TUNED) == [Target(Protocol.STATIC, (Oracle(),))]
    assert found(Protocol.ADAPTIVE) == [Target(Protocol.ADAPTIVE, (IMAGE,))]
    assert found(Protocol.BLACK_BOX) == [Target(Protocol.BLACK_BOX, (IMAGE,))]
    assert found(Protocol.TRANSFER) == [Target(Protocol.TRANSFER, (TrainingLambda(), IMAGE))]
    assert found(Protocol.GRID, (0.1, 1 / 31)) == [Target(Protocol.GRID, (WorstOf((0.1, 1 / 31)),))]
    assert found(Protocol.GRID) == [Target(Protocol.GRID, (WorstOf(GRID),))]
    assert found(Protocol.FIXED, (0.1, 0.8)) == [Target(Protocol.FIXED, (FixedLambda(lam),)) for lam in (0.1, 0.8)]
    assert len(found(Protocol.FIXED)) == 15


def test_blind_has_a_fit_of_its_own_and_stands_beside_the_lines(facts: ModelFacts, fit: LambdaFit) -> None:
    blind = replace_fact(fit, noise="blind")
    both, alone = (replace(facts, fits={**fits, "blind": blind}) for fits in (facts.fits, {}))
    assert both.resolved(Blind(), Clean()) == Blind(fit=blind.digest)
    assert both.resolved(IMAGE, Clean()) == Adaptive(scope=Scope.IMAGE, fit=fit.digest)
    assert both.policies(()) == (TrainingLambda(), DATASET, Blind())
    assert alone.policies(()) == (TrainingLambda(), Blind())
    adaptive = [Target(Protocol.ADAPTIVE, (policy,)) for policy in (IMAGE, Blind())]
    assert (targets(both, Protocol.ADAPTIVE), targets(alone, Protocol.ADAPTIVE)) == (adaptive, adaptive[1:])
    assert targets(both, Protocol.STATIC) == [Target(Protocol.STATIC, (DATASET, Blind()))]
    with pytest.raises(PolicyError, match=r"no blind lambda fit .*: run `robustcsc fit-lambda --run r --noise blind`"):
        facts.policies(("blind",))
    with pytest.raises(PolicyError, match=r"no lambda fit .*: run `robustcsc fit-lambda --run r` first"):
        alone.policies(("adaptive-image",))


def test_a_model_without_lambda_is_scored_as_it_is(without_lambda: ModelFacts, unfitted: ModelFacts) -> None:
    for protocol in (Protocol.PLAIN, Protocol.TRANSFER, Protocol.BLACK_BOX):
        assert targets(without_lambda, protocol) == [Target(protocol, (NoLambda(),))]
        assert targets(unfitted, protocol) == [Target(protocol, (TrainingLambda(),))]


def test_protocols_that_do_not_suit_are_refused(
    facts: ModelFacts, unfitted: ModelFacts, without_lambda: ModelFacts
) -> None:
    for protocol in Protocol:
        check_protocol(facts, protocol)
    for protocol in (Protocol.STATIC, Protocol.TUNED, Protocol.ADAPTIVE, Protocol.FIXED, Protocol.GRID):
        with pytest.raises(PolicyError, match=f"no lambda for an attack to meet: leave {protocol} out"):
            targets(without_lambda, protocol)
    for protocol in (Protocol.STATIC, Protocol.ADAPTIVE):
        with pytest.raises(PolicyError, match="fit-lambda"):
            targets(unfitted, protocol)
