from __future__ import annotations

from collections.abc import Callable

import pytest

from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain, Planner
from robustcsc.evaluation.sources import Inputs, planned_corruptions
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
    assert [measured[0][1] > 4, measured[-1]] == [True, ("impulse_noise 4", 5, 5)]  # the fifth of five cells


def test_progress_is_that_of_the_whole_plan_and_an_attack_counts_with_its_steps(
    model: LoadedModel, spec: Spec, measure: Measure
) -> None:
    threat, policy = ThreatModel("linf", 0.1), TrainingLambda()
    shares: list[float] = []

    def plan(planner: Planner) -> list[Chain]:
        steps = (AttackStep.of("pgd", steps=4), AttackStep.of("pgd", steps=5))
        attacks = [Attack(steps=(step,), threat=threat, protocol=Protocol.PLAIN) for step in steps]
        return [planner.clean([policy]), *((planner.cell(attack, [policy], batched=True),) for attack in attacks)]

    measure(model, plan, batch_size=1000, progress=lambda label, done, total: shares.append(done / total))
    assert [shares[0], shares[-1]] == [0.1, 1.0]
    assert 0.5 in shares and shares == sorted(shares)


def test_policies_of_a_batch_are_another_measurement_in_other_batches(
    model: LoadedModel, store: ResultStore, measure: Measure
) -> None:
    for size in (7, 60, 7):
        policies = [Adaptive(scope=Scope.BATCH), Adaptive(scope=Scope.IMAGE)]
        measure(model, lambda planner, policies=policies: [planner.clean(policies)], batch_size=size)
    assert [record.measurement.batch_size for record in store.records()] == [7, None, 60]
