"""Each protocol crafts on the model it should, and scores at the lambda it should."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.residuals import logits_at, residuals
from robustcsc.data import ImageSet
from robustcsc.evaluation.models import LoadedModel
from robustcsc.layers.lambdas import set_lambda
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Attack, Surrogate
from robustcsc.measurements.policies import (
    Adaptive,
    FixedLambda,
    NoLambda,
    Oracle,
    Scope,
    TrainingLambda,
    WorstOf,
    multiples_of,
)
from robustcsc.measurements.protocols import BASIC, Protocol
from robustcsc.measurements.records import AttackDetails, Record
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import ThreatModel

Crafted = list[tuple[nn.Module, Tensor, Tensor]]
PGD = AttackStep.of("pgd", steps=4, step_size=0.05)
STRONG = AttackStep.of("pgd", steps=8, step_size=0.03)


@torch.no_grad()
def count(model: nn.Module, images: Tensor, labels: Tensor, lambdas: list[float]) -> int:
    changed = copy.deepcopy(model).eval()
    correct = 0
    for lam in set(lambdas):
        rows = torch.tensor([lam == each for each in lambdas])
        set_lambda(changed, lam)
        correct += int((changed(images[rows]).argmax(1) == labels[rows]).sum())
    return correct


@torch.no_grad()
def line_at(model: nn.Module, fit: LambdaFit, images: Tensor) -> list[float]:
    values = residuals(model, images).mean(1).tolist()
    return [min(max(fit.image_line.intercept + fit.image_line.slope * r, 0.1), 1.5) for r in values]


def made_of(record: Record) -> Attack:
    made = record.measurement.perturbation
    assert isinstance(made, Attack)
    return made


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.1), ThreatModel("l2", 0.5)])
def test_protocols_score_the_images_they_should_at_the_lambda_they_should(
    attack: Callable[..., list[Record]],
    model: LoadedModel,
    images: ImageSet,
    fit: LambdaFit,
    crafted: Crafted,
    threat: ThreatModel,
) -> None:
    plain, static, adaptive = attack(PGD, protocols=BASIC, threat=threat)
    assert [made_of(record) for record in (plain, static, adaptive)] == [
        Attack(steps=(PGD,), threat=threat, protocol=protocol)
        for protocol in (Protocol.PLAIN, Protocol.STATIC, Protocol.ADAPTIVE)
    ]
    assert [record.measurement.policy for record in (plain, static, adaptive)] == [
        TrainingLambda(),
        Adaptive(scope=Scope.DATASET, fit=fit.digest),
        Adaptive(scope=Scope.IMAGE, fit=fit.digest),
    ]
    # Two batches against the training lambda, used twice, and two through the adaptive policy.
    assert [len(clean) for _, clean, _ in crafted] == [40, 20, 40, 20]
    for _, clean, found in crafted:
        change = (found - clean).double().flatten(1)
        sizes = change.abs().amax(1) if threat.norm == "linf" else change.norm(dim=1)
        assert sizes.max() <= threat.epsilon + 1e-7
        assert sizes.max() > 0.9 * threat.epsilon
        assert found.min() >= 0
        assert found.max() <= 1
    labels, network = images.labels, model.model
    simple = torch.cat([found for _, _, found in crafted[:2]])
    through = torch.cat([found for _, _, found in crafted[2:]])
    assert plain.met == count(network, simple, labels, [0.1] * 60)
    mean = residuals(network, simple).mean().item()
    lam = min(max(fit.lines["squared"].intercept + fit.lines["squared"].slope * mean, 0.1), 1.5)
    assert static.lam == pytest.approx(lam, abs=1e-5)
    assert static.met == count(network, simple, labels, [lam] * 60)
    lambdas = line_at(network, fit, through)
    assert adaptive.lam == pytest.approx(sum(lambdas) / 60, abs=1e-5)
    assert adaptive.met == count(network, through, labels, lambdas)
    assert not torch.equal(simple, through)
    # The attacker saw the model at the training lambda, and the policy with one lambda per image.
    (at_training_lambda, clean, _), (policy, _, _) = crafted[0], crafted[2]
    with torch.no_grad():
        torch.testing.assert_close(at_training_lambda(clean), logits_at(network, clean, 0.1))
        seen = logits_at(network, clean, torch.tensor(line_at(network, fit, clean)))
        torch.testing.assert_close(policy(clean), seen, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("unchecked")
def test_an_attack_through_the_policy_breaks_images_that_were_right(
    attack: Callable[..., list[Record]], measure: Callable[..., list[Record]], model: LoadedModel
) -> None:
    policies = model.facts.policies(("adaptive-image",))
    (clean,) = measure(model, lambda planner: [planner.clean(policies)])
    (adaptive,) = attack(AttackStep.of("pgd", steps=10, step_size=0.025), protocols=(Protocol.ADAPTIVE,))
    assert adaptive.met < clean.met


@pytest.mark.usefixtures("unchecked")
def test_records_say_which_attack_it_was(attack: Callable[..., list[Record]], store: ResultStore) -> None:
    step = AttackStep.of("pgd", steps=2, step_size=0.05, restarts=2)
    (record,) = attack(step, seed=5)
    linf = ThreatModel("linf", 0.1)
    assert made_of(record) == Attack(steps=(step,), threat=linf, protocol=Protocol.PLAIN, seed=5)
    assert record.measurement.batch_size == 40
    attack(AttackStep.of("pgd", steps=2))
    assert len(store.records()) == 2


@pytest.mark.usefixtures("unchecked")
def test_a_model_without_lambda_is_attacked_plainly(
    attack: Callable[..., list[Record]], measure: Callable[..., list[Record]], plain: LoadedModel
) -> None:
    (clean,) = measure(plain, lambda planner: [planner.clean([NoLambda()])])
    (record,) = attack(AttackStep.of("pgd", steps=10), attacked=plain, epsilon=0.5)
    assert (record.measurement.policy, record.lam) == (NoLambda(), None)
    assert record.met == 0 < clean.met  # a linear model falls to a budget of half the range


@pytest.mark.usefixtures("unchecked")
def test_fixed_attacks_and_scores_at_each_lambda(
    attack: Callable[..., list[Record]], model: LoadedModel, crafted: Crafted, images: ImageSet
) -> None:
    records = attack(STRONG, protocols=(Protocol.FIXED,), lambdas=(0.1, 0.8))
    assert [it.measurement.policy for it in records] == [FixedLambda(0.1), FixedLambda(0.8)]
    for record, at, lam in zip(records, (0, 2), (0.1, 0.8), strict=True):
        changed = torch.cat([found for _, _, found in crafted[at : at + 2]])
        assert record.met == count(model.model, changed, images.labels, [lam] * 60)
        assert record.lam == pytest.approx(lam)


@pytest.mark.usefixtures("unchecked")
def test_grid_raises_the_mean_loss_and_is_scored_at_the_worst_lambda(
    attack: Callable[..., list[Record]], model: LoadedModel, crafted: Crafted, images: ImageSet
) -> None:
    lambdas = (0.1, 0.5, 1.2)
    (record,) = attack(STRONG, protocols=(Protocol.GRID,), lambdas=lambdas, epsilon=0.04)
    assert (record.measurement.policy, record.lam) == (WorstOf(lambdas), None)
    changed, clean = torch.cat([it for _, _, it in crafted]), torch.cat([it for _, it, _ in crafted])
    with torch.no_grad():
        logits = [logits_at(model.model, changed, lam) for lam in lambdas]
        before = [logits_at(model.model, clean, lam) for lam in lambdas]
        seen = crafted[0][0](clean)
    right = torch.stack([it.argmax(1) == images.labels for it in logits]).all(dim=0)
    assert record.met == int(right.sum())
    losses = [[nn.functional.cross_entropy(it, images.labels) for it in each] for each in (before, logits)]
    assert torch.stack(losses[1]).mean() > torch.stack(losses[0]).mean()
    # What the attacker sees: minus its entry at the label is the mean cross-entropy.
    own = -seen.gather(1, images.labels[:, None]).mean()
    torch.testing.assert_close(own, torch.stack(losses[0]).mean())


@pytest.mark.usefixtures("unchecked")
def test_transfer_is_crafted_on_the_other_model(
    attack: Callable[..., list[Record]], model: LoadedModel, plain: LoadedModel, crafted: Crafted, images: ImageSet
) -> None:
    records = attack(STRONG, protocols=(Protocol.TRANSFER,), surrogate=plain)
    policies = [it.measurement.policy for it in records]
    assert policies == [TrainingLambda(), Adaptive(scope=Scope.IMAGE, fit=model.fits["gaussian"].digest)]
    assert {made_of(it).surrogate for it in records} == {Surrogate(model="linear", weights="11" * 32)}
    assert all(asked is plain.model for asked, _, _ in crafted) and len(crafted) == 2
    changed = torch.cat([found for _, _, found in crafted])
    assert records[0].met == count(model.model, changed, images.labels, [0.1] * 60)
    lambdas = line_at(model.model, model.fits["gaussian"], changed)
    assert records[1].met == count(model.model, changed, images.labels, lambdas)


def test_black_box_asks_the_adaptive_policy_and_takes_no_gradient(attack: Callable[..., list[Record]]) -> None:
    (record,) = attack(AttackStep.of("square", queries=20), protocols=(Protocol.BLACK_BOX,), epsilon=0.02)
    assert isinstance(record.measurement.policy, Adaptive) and record.measurement.policy.scope is Scope.IMAGE
    assert isinstance(record.details, AttackDetails) and record.details.cost is not None
    cost = record.details.cost
    assert cost.gradient_calls == 0 and 60 < cost.forward_calls <= 60 * 24


@pytest.mark.usefixtures("unchecked")
def test_tuned_is_the_transfer_test_at_the_best_lambda_by_the_labels(
    attack: Callable[..., list[Record]], model: LoadedModel, crafted: Crafted, images: ImageSet
) -> None:
    plain, static, tuned = attack(STRONG, protocols=(Protocol.PLAIN, Protocol.STATIC, Protocol.TUNED))
    assert len(crafted) == 2  # once for all three
    assert (made_of(tuned).protocol, tuned.measurement.policy) == (Protocol.STATIC, Oracle())
    changed = torch.cat([found for _, _, found in crafted])
    by_lambda = {lam: count(model.model, changed, images.labels, [lam] * 60) for lam in multiples_of(0.1)}
    assert tuned.met == max(by_lambda.values()) >= max(plain.met, static.met)
    assert tuned.lam is not None and by_lambda[round(tuned.lam, 4)] == tuned.met
    # Without a fit, too: it needs none.
    (alone,) = attack(STRONG, protocols=(Protocol.TUNED,), attacked=replace(model, fits={}))
    assert alone.measurement.key == tuned.measurement.key
