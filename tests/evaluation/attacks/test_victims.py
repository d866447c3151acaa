"""Whom an attack asks under each protocol."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.policies import AdaptiveModel, ModelAtLambda
from robustcsc.adaptive.residuals import logits_at
from robustcsc.data import ImageSet
from robustcsc.errors import PolicyError
from robustcsc.evaluation.attacks.victims import LambdaGrid, victim_of
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements.facts import replace as replace_fact
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.policies import (
    Adaptive,
    FixedLambda,
    NoLambda,
    Oracle,
    Policy,
    Scope,
    TrainingLambda,
    WorstOf,
)
from robustcsc.measurements.protocols import Protocol


@pytest.fixture
def clean(images: ImageSet) -> Tensor:
    (batch,) = images.batches(60)
    return batch.images


@pytest.mark.parametrize(
    ("protocol", "policy"),
    [
        (Protocol.PLAIN, TrainingLambda()),
        (Protocol.STATIC, Adaptive(scope=Scope.DATASET, fit="?")),
        (Protocol.STATIC, Oracle()),
        (Protocol.BLACK_BOX, TrainingLambda()),
    ],
)
def test_the_model_is_asked_at_its_training_lambda(
    protocol: Protocol, policy: Policy, model: LoadedModel, clean: Tensor
) -> None:
    victim = victim_of(model, protocol, policy, None)
    assert isinstance(victim.model, ModelAtLambda) and victim.name == "the training lambda"
    with torch.no_grad():
        torch.testing.assert_close(victim.model(clean), logits_at(model.model, clean, 0.1))


@pytest.mark.parametrize("protocol", [Protocol.ADAPTIVE, Protocol.BLACK_BOX])
def test_the_adaptive_policy_is_asked_with_its_fit(
    protocol: Protocol, model: LoadedModel, fit: LambdaFit, clean: Tensor
) -> None:
    other = replace_fact(fit, noise="shot", seed=1)
    fitted = replace(model, fits={"gaussian": fit, "shot": other})
    victim = victim_of(fitted, protocol, Adaptive(scope=Scope.IMAGE, fit=other.digest), None)
    assert isinstance(victim.model, AdaptiveModel)
    assert (victim.model.fit, victim.model.scope) == (other, Scope.IMAGE)
    assert victim != victim_of(fitted, protocol, Adaptive(scope=Scope.IMAGE, fit=fit.digest), None)


def test_one_lambda_or_several_are_asked(model: LoadedModel, clean: Tensor) -> None:
    fixed = victim_of(model, Protocol.FIXED, FixedLambda(0.8), None)
    grid = victim_of(model, Protocol.GRID, WorstOf((0.1, 0.8)), None)
    assert isinstance(grid.model, LambdaGrid) and grid.averaged and not fixed.averaged
    with torch.no_grad():
        single = [logits_at(model.model, clean, lam) for lam in (0.1, 0.8)]
        torch.testing.assert_close(fixed.model(clean), single[1])
        torch.testing.assert_close(grid.model(clean), sum(it.log_softmax(1) for it in single) / 2)


def test_victims_are_equal_if_their_weights_and_policies_are(model: LoadedModel, plain: LoadedModel) -> None:
    fixed = [FixedLambda(0.1), FixedLambda(0.1 + 1e-9)]
    grids = [WorstOf((0.1, 0.5)), WorstOf((0.1, 0.8))]
    victims = [victim_of(model, Protocol.FIXED, policy, None) for policy in fixed]
    victims += [victim_of(model, Protocol.GRID, policy, None) for policy in grids]
    victims += [victim_of(it, Protocol.PLAIN, it.facts.own_policy, None) for it in (model, plain)]
    assert len(set(victims)) == len({victim.name for victim in victims}) == 6
    static = victim_of(model, Protocol.STATIC, Oracle(), None)
    assert static == victims[4] and static == victim_of(plain, Protocol.TRANSFER, NoLambda(), model)


def test_transfer_attacks_ask_the_other_model(model: LoadedModel, plain: LoadedModel) -> None:
    victim = victim_of(model, Protocol.TRANSFER, TrainingLambda(), plain)
    assert victim.model is plain.model and victim.weights == plain.subject.weights
    at = victim_of(plain, Protocol.TRANSFER, NoLambda(), model).model
    assert isinstance(at, ModelAtLambda) and at.lam == 0.1
    with pytest.raises(PolicyError, match="name it with --from"):
        victim_of(model, Protocol.TRANSFER, TrainingLambda(), None)


def test_a_model_without_lambda_is_asked_itself(plain: LoadedModel) -> None:
    for protocol in (Protocol.PLAIN, Protocol.BLACK_BOX):
        victim = victim_of(plain, protocol, NoLambda(), None)
        assert isinstance(victim.model, nn.Module) and victim.model is plain.model
        assert victim.name == "the model"
