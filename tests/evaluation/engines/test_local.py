from __future__ import annotations

from collections.abc import Callable

import pytest

from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet
from robustcsc.evaluation import driver
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain, Planner
from robustcsc.evaluation.sources import Inputs, images_fact, planned_corruptions
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import Attack, Corruption
from robustcsc.measurements.policies import Adaptive, Scope, TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Record
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import ThreatModel

Measure = Callable[..., list[Record]]
Plan = Callable[[Planner], list[Chain]]


@pytest.fixture
def plan(model: LoadedModel, images: ImageSet, spec: Spec) -> Callable[..., Plan]:
    """Clean images and two noises at two severities, under some policies."""

    def made(*policies: str, names: tuple[str, ...] = ("impulse_noise", "speckle_noise")) -> Plan:
        chosen = model.facts.policies(policies)
        corruptions = list(planned_corruptions(Inputs(images=images, spec=spec), names, [1, 4]))
        return lambda planner: [planner.clean(chosen), *planner.sweep(corruptions, chosen)]

    return made


def test_nothing_is_measured_twice_unless_asked(
    model: LoadedModel, spec: Spec, store: ResultStore, calls: object, plan: Callable[..., Plan], measure: Measure
) -> None:
    def passes() -> int:
        done, calls.count = calls.count, 0  # type: ignore[attr-defined]
        return int(done)

    first = measure(model, plan("train", "adaptive"), spec=spec)
    assert len(first) == 10
    assert passes() == 5 * 3  # training lambda; residual of the data set and its lambda
    assert measure(model, plan("train", "adaptive"), spec=spec) == first
    assert passes() == 0
    more = measure(model, plan("adaptive", "fixed=0.7", "train"), spec=spec)
    assert passes() == 5  # the new policy alone
    assert [record for record in more if record.measurement.policy == TrainingLambda()] == first[::2]
    again = measure(model, plan("train", "adaptive"), spec=spec, remeasure=True)
    assert passes() == 5 * 3
    assert [(r.measurement, r.outcomes, r.lam) for r in again] == [(r.measurement, r.outcomes, r.lam) for r in first]
    assert len(store.records()) == 15


def test_records_come_in_the_order_of_the_plan(
    model: LoadedModel, spec: Spec, plan: Callable[..., Plan], measure: Measure
) -> None:
    measure(model, plan("adaptive"), spec=spec)
    planned: list[object] = []

    def kept(planner: Planner) -> list[Chain]:
        chains = plan("train", "adaptive", "fixed=0.7")(planner)
        planned.extend(measurement for chain in chains for cell in chain for measurement in cell.measurements)
        return chains

    assert [record.measurement for record in measure(model, kept, spec=spec)] == planned


def test_a_refit_is_measured_anew_and_the_old_record_stays(
    with_fit: Callable[..., LoadedModel], store: ResultStore, measure: Measure
) -> None:
    for heldout in ("feed", "other"):
        fitted = with_fit(heldout=heldout)
        policies = fitted.facts.policies(("train", "adaptive-image"))
        measure(fitted, lambda planner, policies=policies: [planner.clean(policies)])
    assert [type(record.measurement.policy) for record in store.records()] == [TrainingLambda, Adaptive, Adaptive]


def test_a_stopped_sweep_keeps_every_finished_cell(
    model: LoadedModel, spec: Spec, store: ResultStore, plan: Callable[..., Plan], measure: Measure
) -> None:
    def stop(label: str, done: int, total: int) -> None:
        if label == "impulse_noise 4":
            raise KeyboardInterrupt

    chains = plan("train", names=("speckle_noise", "impulse_noise"))
    with pytest.raises(KeyboardInterrupt):
        measure(model, chains, spec=spec, batch_size=30, progress=stop)
    kept = store.records()
    noises = [it for record in kept if isinstance(it := record.measurement.perturbation, Corruption)]
    assert [(noise.name, noise.severity) for noise in noises] == [
        ("speckle_noise", 1),
        ("speckle_noise", 4),
        ("impulse_noise", 1),
    ]
    measured: list[tuple[str, float, float]] = []
    resumed = measure(model, chains, spec=spec, batch_size=30, progress=lambda *told: measured.append(told))
    assert resumed[:4] == kept and len(resumed) == 5
    assert {label for label, _, _ in measured} == {"impulse_noise 4"}
    # One of two batches of the one cell that is left, whose images are read and classified; what is stored is no work.
    assert measured == [("impulse_noise 4", 60, 120), ("impulse_noise 4", 120, 120)]


def test_progress_is_that_of_the_whole_plan_and_an_attack_counts_with_its_steps(
    model: LoadedModel, spec: Spec, measure: Measure
) -> None:
    threat, policy = ThreatModel("linf", 0.1), TrainingLambda()
    told: list[tuple[str, float, float]] = []

    def plan(planner: Planner) -> list[Chain]:
        steps = (AttackStep.of("pgd", steps=4), AttackStep.of("pgd", steps=5))
        attacks = [Attack(steps=(step,), threat=threat, protocol=Protocol.PLAIN) for step in steps]
        return [planner.clean([policy]), *((planner.cell(attack, [policy], batched=True),) for attack in attacks)]

    measure(model, plan, batch_size=1000, progress=lambda *each: told.append(each))
    # 60 images are read and classified, or attacked: forwards 1, backwards 2, one image first; scored twice.
    clean, four, five = 120, *(60 + (60 * steps + 1) * 3 + 120 for steps in (4, 5))
    checks = (whole := told[0][2]) - clean - four - five  # of gradients, at most
    assert (told[0][1], told[-1][1]) == (clean, whole) and 0 < checks < 10 * 150
    assert [it for _, it, _ in told] == sorted(it for _, it, _ in told)
    assert clean + checks + four in [it for _, it, _ in told]


def test_policies_of_a_batch_are_another_measurement_in_other_batches(
    model: LoadedModel, store: ResultStore, measure: Measure
) -> None:
    for size in (7, 60, 7):
        policies = [Adaptive(scope=Scope.BATCH), Adaptive(scope=Scope.IMAGE)]
        measure(model, lambda planner, policies=policies: [planner.clean(policies)], batch_size=size)
    assert [record.measurement.batch_size for record in store.records()] == [7, None, 60]


def test_of_a_plan_that_is_made_on_the_way_what_is_stored_is_no_work(
    model: LoadedModel, images: ImageSet, spec: Spec, store: ResultStore, plan: Callable[..., Plan]
) -> None:
    planner = Planner(model=model.facts, images=images_fact(images), batch_size=60)
    told: list[tuple[str, float, float]] = []
    inputs = Inputs(images=images, spec=spec)
    evaluator = Evaluator(model=model, inputs=inputs, batch_size=60, progress=lambda *each: told.append(each))
    chains = plan("train")(planner)
    list(driver.run(chains[1:3], Evaluator(model=model, inputs=inputs, batch_size=60), store))
    list(driver.run(iter(chains), evaluator, store, cells=5))
    assert told == [("clean", 1, 5), ("speckle_noise 1", 2, 3), ("speckle_noise 4", 3, 3)]
