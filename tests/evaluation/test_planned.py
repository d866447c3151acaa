"""What a plan says of passes is what is asked at the model when it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet
from robustcsc.evaluation import driver
from robustcsc.evaluation.attacks.plans import AttackRequest, attack_plan
from robustcsc.evaluation.fooling.plans import noise_plan, uap_plan
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain, Planner
from robustcsc.evaluation.planned import planned
from robustcsc.evaluation.sources import Inputs, images_fact, planned_corruptions
from robustcsc.layers.tracing import traced
from robustcsc.measurements.adaptations import parse_adaptation
from robustcsc.measurements.attacks import ATTACKS, AttackStep
from robustcsc.measurements.passes import GradientChecking, Passes
from robustcsc.measurements.perturbations import Crafting
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.references import Reference
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import ThreatModel

THREAT = ThreatModel("linf", 0.03)
PGD = AttackStep.of("pgd", steps=3)


@pytest.fixture
def few(images: ImageSet) -> ImageSet:
    return images.subset(torch.arange(0, 60, 5))


@contextmanager
def counting(model: torch.nn.Module) -> Iterator[dict[str, int]]:
    """Counts the images that go through a model, those that only go a part of the way, and those of gradients."""
    seen = {"forward": 0, "residual": 0, "gradient": 0}

    def backwards(gradient: Tensor) -> None:
        seen["gradient"] += len(gradient)

    def before(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        seen["residual"] += len(inputs[0])

    def after(module: torch.nn.Module, inputs: tuple[Any, ...], logits: Any) -> None:
        seen["residual"] -= len(inputs[0])
        seen["forward"] += len(inputs[0])
        if logits.requires_grad:
            logits.register_hook(backwards)

    with traced([model], before=before, after=after):
        yield seen


def counted(seen: dict[str, int]) -> Passes:
    return Passes(forward=seen["forward"], residual=seen["residual"], gradient=seen["gradient"])


@pytest.fixture
def carried_out(store: ResultStore, few: ImageSet, spec: Spec, tmp_path: Path) -> Callable[..., tuple[Passes, Passes]]:
    """Plans, measures, and returns what was planned, but for checks of gradients, and what was asked."""

    def run(
        model: LoadedModel, plan: Callable[[Planner], Iterable[Chain]], size: int = 5, **inputs: Any
    ) -> tuple[Passes, Passes]:
        planner = Planner(model=model.facts, images=images_fact(few), batch_size=size)
        evaluator = Evaluator(model=model, inputs=Inputs(images=few, spec=spec, **inputs), batch_size=size)
        chains = list(plan(planner))
        pieces = [it for cell in planned(chains, evaluator, store) for it in cell.pieces]
        with counting(model.model) as seen:
            records = list(driver.run(chains, evaluator, store))
        assert records
        told = sum((it.passes for it in pieces if not isinstance(it.what, GradientChecking)), Passes())
        again = [it for cell in planned(chains, evaluator, store) for it in cell.pieces]
        assert [(it.missing, it.passes) for it in again] == [(0, Passes())] * len(again)
        return told, counted(seen)

    return run


POLICIES = ("train", "adaptive", "adaptive-batch", "adaptive-image", "oracle", "fixed=0.2", "fixed=0.7")


@pytest.mark.parametrize(
    "test_time",
    [
        "none",
        *(
            pytest.param(it, marks=pytest.mark.slow)
            for it in ("bn:batch=4", "shift:batch=4", "tent:steps=3:episodic=true")
        ),
    ],
)
def test_a_sweep_asks_what_its_plan_says(
    model: LoadedModel,
    spec: Spec,
    few: ImageSet,
    reference: Reference,
    test_time: str,
    carried_out: Callable[..., tuple[Passes, Passes]],
) -> None:
    model = replace(model, test_time=(parse_adaptation(test_time),), reference=reference)
    policies = model.facts.policies(POLICIES)
    corruptions = list(planned_corruptions(Inputs(images=few, spec=spec), ["fog"], [2]))
    told, asked = carried_out(model, lambda it: [it.clean(policies), *it.sweep(corruptions, policies)])
    assert covers(told, asked) and told.exact == ("shift" not in test_time)
    if test_time == "none":  # 2 cells of 12 images: train, three that adapt, 15 of the oracle with 0.2 and 0.7
        assert told == Passes(forward=2 * 12 * (1 + 3 + 15), residual=2 * 12 * 3)


def covers(told: Passes, asked: Passes) -> bool:
    """Returns whether passes are those that were asked, or at least as many where they are a bound."""
    if told.exact:
        return told == asked
    return all(getattr(told, it) >= getattr(asked, it) for it in ("forward", "residual", "gradient"))


@pytest.mark.usefixtures("unchecked")
def test_pgd_asks_what_its_plan_says(model: LoadedModel, carried_out: Callable[..., tuple[Passes, Passes]]) -> None:
    def attacked(*protocols: Protocol, **settings: Any) -> tuple[Passes, Passes]:
        request = AttackRequest(
            steps=(AttackStep.of("pgd", **{"steps": 3, **settings}),), threats=(THREAT,), protocols=protocols
        )
        return carried_out(model, lambda it: [it.clean([TrainingLambda()]), *attack_plan(it, request)])

    told, asked = attacked(Protocol.PLAIN)
    # Clean; a look at one image of each of three batches; three steps; the answers, and those to rounded images.
    assert told == asked == Passes(forward=12 + 3 + 3 * 12 + 2 * 12, gradient=3 + 3 * 12)
    told, asked = attacked(Protocol.PLAIN, Protocol.STATIC, steps=4)
    # The same images are scored at two lambdas, one of which takes the residual first.
    assert told == asked == Passes(forward=3 + 4 * 12 + 2 * 2 * 12, residual=12, gradient=3 + 4 * 12)
    told, asked = attacked(Protocol.ADAPTIVE)
    assert not told.exact and covers(told, asked)
    # Through the policy every answer takes the residual, too. Whether images were right when clean is asked for those
    # that are right now.
    assert told == Passes(forward=3 + 3 * 12 + 3 * 12, residual=3 + 6 * 12, gradient=3 + 3 * 12, exact=False)
    assert asked.gradient == told.gradient
    told, asked = attacked(Protocol.PLAIN, steps=2, restarts=3)
    assert not told.exact and covers(told, asked)
    assert told.gradient == 3 + 3 * 2 * 12


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("test_time", ["bn:batch=4", "shift:batch=4", "tent:batch=4:steps=2:episodic=true"])
def test_pgd_through_what_is_done_at_test_time_asks_what_its_plan_says(
    model: LoadedModel, reference: Reference, test_time: str, carried_out: Callable[..., tuple[Passes, Passes]]
) -> None:
    model = replace(model, test_time=(parse_adaptation(test_time),), reference=reference)
    request = AttackRequest(steps=(PGD,), threats=(THREAT,), protocols=(Protocol.PLAIN,))
    clean = model.facts.adapted([TrainingLambda()])
    told, asked = carried_out(model, lambda it: [it.clean(clean), *attack_plan(it, request)])
    assert covers(told, asked) and told.exact == ("shift" not in test_time)


SHORT: dict[str, dict[str, int]] = {
    "apgd": {"steps": 4},
    "apgd-t": {"steps": 4, "targets": 3},
    "square": {"queries": 6},
    "fab": {"steps": 2},
    "cw": {"steps": 3, "searches": 2},
    "deepfool": {"steps": 3},
}


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", sorted({*ATTACKS} - {"pgd", "autoattack-port"}))
def test_no_attack_asks_more_than_its_plan_says(
    model: LoadedModel, name: str, carried_out: Callable[..., tuple[Passes, Passes]]
) -> None:
    step = AttackStep.of(name, **SHORT.get(name, {}))
    request = AttackRequest(steps=(step,), threats=(ThreatModel("l2", 0.3),), protocols=(Protocol.PLAIN,))
    told, asked = carried_out(model, lambda it: [it.clean([TrainingLambda()]), *attack_plan(it, request)])
    assert covers(told, asked)
    assert told.exact == (name == "fgsm")
    assert told.forward <= 2 * asked.forward + 12 * 10 and (asked.gradient == 0) == (name == "square")


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_the_port_of_autoattack_asks_no_more_than_its_plan_says(
    model: LoadedModel, carried_out: Callable[..., tuple[Passes, Passes]]
) -> None:
    for threat in (ThreatModel("linf", 0.002), ThreatModel("l2", 0.02)):
        request = AttackRequest(steps=(AttackStep.of("autoattack-port"),), threats=(threat,))
        request = replace(request, protocols=(Protocol.PLAIN,))
        told, asked = carried_out(model, lambda it, request=request: attack_plan(it, request))
        assert covers(told, asked) and 2 * asked.gradient > told.gradient


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_attacks_in_turn_and_other_protocols_ask_no_more_than_their_plan_says(
    model: LoadedModel, carried_out: Callable[..., tuple[Passes, Passes]]
) -> None:
    steps = (PGD, AttackStep.of("apgd", steps=3), AttackStep.of("fab", steps=2))
    for protocols, lambdas in (
        ((Protocol.PLAIN, Protocol.ADAPTIVE), None),
        ((Protocol.FIXED, Protocol.GRID, Protocol.TUNED), (0.1, 0.4)),
    ):
        request = AttackRequest(steps=steps, threats=(THREAT,), protocols=protocols, lambdas=lambdas, in_turn=True)
        told, asked = carried_out(model, lambda it, request=request: attack_plan(it, request))
        assert not told.exact and covers(told, asked)
        assert told.gradient <= 2 * asked.gradient


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_a_search_for_the_smallest_budget_asks_no_more_than_its_plan_says(
    model: LoadedModel, carried_out: Callable[..., tuple[Passes, Passes]]
) -> None:
    request = AttackRequest(
        steps=(AttackStep.of("pgd", steps=2),),
        threats=(ThreatModel("linf", 0.1),),
        protocols=(Protocol.ADAPTIVE,),
        smallest=True,
    )
    told, asked = carried_out(model, lambda it: attack_plan(it, request), size=12)
    assert not told.exact and covers(told, asked)


@pytest.mark.slow
def test_checks_of_gradients_ask_no_more_than_is_planned_for_them(
    model: LoadedModel, few: ImageSet, spec: Spec, store: ResultStore
) -> None:
    planner = Planner(model=model.facts, images=images_fact(few), batch_size=12)
    evaluator = Evaluator(model=model, inputs=Inputs(images=few, spec=spec), batch_size=12)
    request = AttackRequest(steps=(AttackStep.of("pgd", steps=1),), threats=(THREAT,), protocols=(Protocol.ADAPTIVE,))
    cells = list(planned(plan := attack_plan(planner, request), evaluator, store))
    (checks, attack) = (it for cell in cells for it in cell.pieces)
    assert isinstance(checks.what, GradientChecking) and not checks.passes.exact
    with counting(model.model) as seen:
        list(driver.run(plan, evaluator, store))
    assert covers(checks.passes + attack.passes, counted(seen))
    assert seen["gradient"] > attack.passes.gradient


@pytest.mark.slow
def test_fooling_rates_ask_what_their_plan_says(
    model: LoadedModel, few: ImageSet, tmp_path: Path, carried_out: Callable[..., tuple[Passes, Passes]]
) -> None:
    policies = model.facts.policies(["adaptive"])
    told, asked = carried_out(model, lambda it: noise_plan(it, [0.1, 0.2], policies, [0, 1]))
    assert told == asked == Passes(forward=5 * 12, residual=5 * 12)  # clean images once
    for size in (4, 1):
        made = Crafting(images="feed", count=12, delta=0.0, passes=2, batch_size=size)
        told, asked = carried_out(
            model,
            lambda it, made=made: uap_plan(it, made, [ThreatModel("linf", 0.02)], [Protocol.ADAPTIVE], [0]),
            crafting_images=few,
            perturbations=tmp_path / str(size),
        )
        assert not told.exact and covers(told, asked)


def test_what_is_stored_is_not_planned_again_and_a_broken_chain_ends(
    model: LoadedModel, few: ImageSet, spec: Spec, store: ResultStore
) -> None:
    planner = Planner(model=model.facts, images=images_fact(few), batch_size=12)
    evaluator = Evaluator(model=model, inputs=Inputs(images=few, spec=spec), batch_size=12)
    chain = [planner.clean(model.facts.policies(["train"]))]
    (record,) = driver.run(chain, evaluator, store)
    both = model.facts.policies(["train", "oracle"])
    (cell,) = planned([planner.clean(both)], evaluator, store)
    assert cell.stored == (record,) and [it.policy for it in cell.missing] == list(both[1:])
    assert [(it.missing, it.stored, it.passes.forward) for it in cell.pieces] == [(1, 1, 15 * 12)]
    evaluator.remeasure = True
    (cell,) = planned([planner.clean(both)], evaluator, store)
    assert (cell.stored, len(cell.missing), cell.pieces[0].passes.forward) == ((), 2, 16 * 12)
