"""What is done at test time, as it is measured: batches, their order, outcomes, refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from robustcsc.adaptive.adapters import AdaptedModel
from robustcsc.adaptive.batch_norm import batch_norms
from robustcsc.adaptive.policies import ModelAtLambda
from robustcsc.adaptive.residuals import logits_at
from robustcsc.attacks.catalog import craft
from robustcsc.data import ImageSet
from robustcsc.errors import PolicyError
from robustcsc.evaluation.attacks.plans import AttackRequest, attack_plan
from robustcsc.evaluation.attacks.saved import load_adversarial, save_adversarial
from robustcsc.evaluation.fooling.plans import noise_plan
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Planner, Target
from robustcsc.evaluation.sources import Inputs, images_fact
from robustcsc.measurements.adaptations import Adaptation, BatchStatistics, Order, Shift, Tent
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import Attack, Surrogate
from robustcsc.measurements.policies import Adapted, FixedLambda, TrainingLambda
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Record
from robustcsc.measurements.references import Reference
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import silent

Measure = Callable[..., list[Record]]
LINF = ThreatModel("linf", 0.1)
PGD = AttackStep.of("pgd", steps=2)


def with_batch_statistics(model: nn.Module) -> nn.Module:
    """The model as PyTorch itself runs it with the statistics of each batch, for want of others."""
    found = copy.deepcopy(model).eval()
    for layer in batch_norms(found):
        layer.running_mean = layer.running_var = None
    return found


def expected(model: nn.Module, images: ImageSet, batches: list[torch.Tensor], lam: float) -> list[bool]:
    """Which images are right in these batches of rows, in the order of the rows."""
    (whole,), reference = images.batches(len(images)), with_batch_statistics(model)
    right = torch.zeros(len(images), dtype=torch.bool)
    for rows in batches:
        with torch.no_grad():
            right[rows] = logits_at(reference, whole.images[rows], lam).argmax(1) == whole.labels[rows]
    found: list[bool] = right.tolist()
    return found


def adapting(model: LoadedModel, *made: Adaptation | None) -> LoadedModel:
    return replace(model, test_time=made)


def test_batches_are_read_in_their_size_and_order_and_outcomes_stay_in_that_of_the_images(
    model: LoadedModel, images: ImageSet, measure: Measure
) -> None:
    made = (BatchStatistics(batch=7, order=Order.GIVEN), BatchStatistics(batch=20, order=Order.CLASS))
    records = measure(
        adapting(model, None, *made), lambda planner: [planner.clean(planner.model.policies(["train", "fixed=0.3"]))]
    )
    sorted_rows = sorted(range(60), key=lambda row: int(images.labels[row]))
    batches = {made[0]: torch.split(torch.arange(60), 7), made[1]: torch.split(torch.tensor(sorted_rows), 20)}
    outcomes = {it.measurement.policy: it.outcomes.to_list() for it in records if it.outcomes is not None}
    for chosen, lam in ((TrainingLambda(), 0.1), (FixedLambda(0.3), 0.3)):
        assert chosen in outcomes
        for by, its in batches.items():
            assert outcomes[Adapted(by=by, policy=chosen)] == expected(model.model, images, list(its), lam)
    assert len(set(map(tuple, outcomes.values()))) > 3
    assert {it.lam for it in records if it.measurement.policy == Adapted(by=made[0], policy=FixedLambda(0.3))} == {0.3}


def test_shift_compares_each_batch_with_the_clean_images_of_the_model(
    model: LoadedModel, images: ImageSet, reference: Reference, measure: Measure
) -> None:
    shift = Shift(batch=20, order=Order.GIVEN)
    asked = replace(adapting(model, shift), reference=reference)
    records = measure(asked, lambda planner: [planner.clean(planner.model.policies(["train", "fixed=0.9"]))])
    named = Shift(batch=20, order=Order.GIVEN, reference=reference.digest)
    for record, lam in zip(records, (0.1, 0.9), strict=True):
        network = AdaptedModel(ModelAtLambda(model.model, lam), named, reference)
        right = [network(it.images).argmax(1) == it.labels for it in images.batches(20)]
        assert isinstance(record.measurement.policy, Adapted) and record.measurement.policy.by == named
        assert record.outcomes is not None and record.outcomes.to_list() == torch.cat(right).tolist()
    with pytest.raises(PolicyError, match="statistics beef of clean images are not there"):
        measure(asked, lambda planner: [planner.clean([Adapted(by=Shift(reference="beef"), policy=TrainingLambda())])])


def test_tent_goes_on_from_batch_to_batch_and_the_order_is_a_setting(model: LoadedModel, measure: Measure) -> None:
    before = copy.deepcopy(model.model.state_dict())
    made = [Tent(batch=10, learning_rate=0.5, order=order) for order in (Order.GIVEN, Order.SHUFFLED, Order.CLASS)]
    made += [Tent(batch=10, learning_rate=0.5, episodic=True)]
    asked: tuple[Adaptation, ...] = (*made, BatchStatistics(batch=10))
    records = measure(
        adapting(model, *asked), lambda planner: [planner.clean(planner.model.adapted([TrainingLambda()]))]
    )
    outcomes = {it.measurement.policy: it.outcomes for it in records}
    given, shuffled, sorted_, episodic, statistics = (outcomes[Adapted(by=it, policy=TrainingLambda())] for it in asked)
    assert len({given, shuffled, sorted_}) == 3
    assert episodic == statistics  # one step changes nothing for its own batch
    assert all(torch.equal(it, before[name]) for name, it in model.model.state_dict().items())


def test_an_attack_goes_through_the_statistics_of_the_whole_batch(
    model: LoadedModel,
    images: ImageSet,
    measure: Measure,
    crafted: list[tuple[nn.Module, torch.Tensor, torch.Tensor]],
) -> None:
    by = BatchStatistics(batch=30, order=Order.CLASS)
    policy = Adapted(by=by, policy=TrainingLambda())
    attack = Attack(steps=(PGD,), threat=LINF, protocol=Protocol.PLAIN)
    (record,) = measure(model, lambda planner: [planner.attacks([attack], Target(Protocol.PLAIN, (policy,)))])
    rows = list(torch.split(images.labels.argsort(stable=True), 30))
    (whole,), reference = images.batches(60), with_batch_statistics(model.model)
    clean = expected(model.model, images, rows, 0.1)
    right = torch.zeros(60, dtype=torch.bool)
    assert [len(shown) for _, shown, _ in crafted] == [30, 30]
    for its, (_, shown, found) in zip(rows, crafted, strict=True):
        torch.testing.assert_close(shown, whole.images[its])
        seed = int(whole.indices[its[0]])
        by_hand = craft(PGD, reference, whole.images[its], whole.labels[its], LINF, seed=seed)
        torch.testing.assert_close(found, by_hand, atol=1e-3, rtol=0)
        with torch.no_grad():
            right[its] = reference(found).argmax(1) == whole.labels[its]
    both = [one and other for one, other in zip(clean, right.tolist(), strict=True)]
    assert record.outcomes is not None and record.outcomes.to_list() == both
    assert 0 < record.met < sum(clean)


@pytest.mark.parametrize("order", [Order.SHUFFLED, Order.CLASS])
def test_saved_images_are_scored_in_the_batches_that_were_attacked(
    order: Order, model: LoadedModel, images: ImageSet, measure: Measure, tmp_path: Path
) -> None:
    """The same counts, image by image: they are kept in the order of the clean images, not of the batches."""
    policy = Adapted(by=BatchStatistics(batch=20, order=order), policy=TrainingLambda())
    attack = Attack(steps=(PGD,), threat=LINF, protocol=Protocol.PLAIN)
    target = Target(Protocol.PLAIN, (policy,))
    clean, attacked = measure(model, lambda planner: [planner.clean([policy]), planner.attacks([attack], target)])
    crafted = Evaluator(model=model, inputs=Inputs(images=images)).crafted(attacked.measurement)
    batches = crafted.stream(torch.device("cpu"), silent)
    save_adversarial(tmp_path / "saved", batches, attacked.measurement, images)
    saved = load_adversarial(tmp_path / "saved")
    assert saved.positions.tolist() == images.positions.tolist()
    (scored,) = measure(model, lambda planner: [(planner.cell(saved.attack, [policy]),)], saved=saved)
    before, direct, again = (it.outcomes.bits for it in (clean, attacked, scored) if it.outcomes is not None)
    assert direct == again & before
    assert 0 < attacked.met < clean.met


def test_attacks_in_turn_attack_whole_batches(
    model: LoadedModel, measure: Measure, crafted: list[tuple[nn.Module, torch.Tensor, torch.Tensor]]
) -> None:
    request = AttackRequest(
        steps=(AttackStep.of("fgsm"), PGD), threats=(LINF,), protocols=(Protocol.PLAIN,), in_turn=True
    )
    records = measure(adapting(model, BatchStatistics(batch=20)), lambda planner: attack_plan(planner, request))
    assert [len(shown) for _, shown, _ in crafted] == [20] * 6
    first, second = (it.outcomes.bits for it in records if it.outcomes is not None)
    assert second & ~first == 0  # what one attack broke stays broken


@pytest.mark.usefixtures("unchecked")
def test_transfer_attacks_are_crafted_in_the_batches_that_are_scored(
    model: LoadedModel, plain: LoadedModel, measure: Measure
) -> None:
    """One victim for both: images that were crafted in another order are not the same images in the same rows."""
    made = tuple(BatchStatistics(batch=20, order=order) for order in (Order.GIVEN, Order.CLASS))
    request = AttackRequest(
        steps=(AttackStep.of("pgd", steps=2),),
        threats=(ThreatModel("linf", 0.1),),
        protocols=(Protocol.TRANSFER,),
        surrogate=Surrogate(model="linear", weights=plain.subject.weights),
    )

    def outcomes(*test_time: BatchStatistics) -> list[object]:
        adapted = replace(model, fits={}, test_time=test_time)
        found = measure(adapted, lambda planner: attack_plan(planner, request), surrogate=plain, remeasure=True)
        return [it.outcomes for it in found]

    assert outcomes(*made) == [*outcomes(made[0]), *outcomes(made[1])]


@pytest.mark.parametrize(
    ("made", "protocols", "smallest", "message"),
    [
        (Tent(), (Protocol.PLAIN,), False, "write --test-time tent:episodic=true"),
        (Tent(), (Protocol.BLACK_BOX,), False, "write --test-time tent:episodic=true"),
        (BatchStatistics(), (Protocol.PLAIN,), True, "leave bn, shift and tent out of --test-time"),
    ],
)
def test_attacks_that_cannot_meet_an_adaptation_are_refused(
    model: LoadedModel,
    measure: Measure,
    made: Adaptation,
    protocols: tuple[Protocol, ...],
    smallest: bool,
    message: str,
) -> None:
    step = AttackStep.of("square") if Protocol.BLACK_BOX in protocols else PGD
    request = AttackRequest(steps=(step,), threats=(LINF,), protocols=protocols, smallest=smallest)
    with pytest.raises(PolicyError, match=message):
        measure(adapting(model, made), lambda planner: attack_plan(planner, request))


def test_a_model_without_batch_normalisation_is_refused(plain: LoadedModel) -> None:
    with pytest.raises(
        PolicyError, match="linear has no batch normalisation to adapt: leave bn:batch=7 out of --test-time"
    ):
        adapting(plain, None, BatchStatistics(batch=7)).facts  # noqa: B018


def test_fooling_rates_are_those_of_the_model_as_it_is(model: LoadedModel, images: ImageSet) -> None:
    planner = Planner(model=model.facts, images=images_fact(images), batch_size=7)
    with pytest.raises(PolicyError, match="leave --test-time out"):
        noise_plan(planner, [0.1], [Adapted(by=BatchStatistics(), policy=TrainingLambda())], [0])
