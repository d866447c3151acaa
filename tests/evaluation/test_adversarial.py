from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.lines import LambdaFit
from robustcsc.adaptive.residuals import logits_at, residuals
from robustcsc.attacks.gradient import pgd
from robustcsc.attacks.threat import ThreatModel
from robustcsc.data import ImageSet
from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.evaluation import adversarial
from robustcsc.evaluation.adversarial import PROTOCOLS, attack_pgd, default_protocols
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import evaluate_clean
from robustcsc.layers.csc import set_lambda
from robustcsc.records import Record
from robustcsc.store import ResultStore

LINF = ThreatModel("linf", 0.1)


@pytest.fixture
def crafted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """Every call of the attack: the model it saw, the clean and the adversarial images."""
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []

    def spy(model: nn.Module, images: Tensor, *positional: Any, **named: Any) -> Tensor:
        found = pgd(model, images, *positional, **named)
        seen.append((model, images, found))
        return found

    monkeypatch.setattr(adversarial, "pgd", spy)
    return seen


def attack(subject: Subject, images: ImageSet, store: ResultStore, **settings: Any) -> list[Record]:
    chosen: dict[str, Any] = {"threat": LINF, "protocols": tuple(PROTOCOLS), "steps": 4, "step_size": 0.05}
    return list(attack_pgd(subject, images, store, **(chosen | settings)))


@torch.no_grad()
def count(model: nn.Module, images: Tensor, labels: Tensor, lambdas: list[float]) -> int:
    changed = copy.deepcopy(model).eval()
    correct = 0
    for image, label, lam in zip(images, labels.tolist(), lambdas, strict=True):
        set_lambda(changed, lam)
        correct += int(changed(image[None])[0].argmax()) == label
    return correct


@torch.no_grad()
def line_at(model: nn.Module, fit: LambdaFit, images: Tensor) -> list[float]:
    values = residuals(model, images).mean(1).tolist()
    return [min(max(fit.image_line.intercept + fit.image_line.slope * r, 0.1), 1.5) for r in values]


@pytest.mark.parametrize("threat", [LINF, ThreatModel("l2", 0.5)])
def test_protocols_score_the_images_they_should_at_the_lambda_they_should(
    subject: Subject,
    images: ImageSet,
    store: ResultStore,
    fit: LambdaFit,
    crafted: list[tuple[nn.Module, Tensor, Tensor]],
    threat: ThreatModel,
) -> None:
    plain, static, adaptive = attack(subject, images, store, threat=threat, batch_size=40)
    assert [record.condition.protocol for record in (plain, static, adaptive)] == ["plain", "static", "adaptive"]
    assert [record.condition.policy for record in (plain, static, adaptive)] == ["train", "adaptive", "adaptive-image"]
    assert [record.condition.fit for record in (plain, static, adaptive)] == ["", fit.digest, fit.digest]
    # Two batches against the training lambda, used twice, and two through the adaptive policy.
    assert [len(clean) for _, clean, _ in crafted] == [40, 20, 40, 20]
    for _, clean, found in crafted:
        change = (found - clean).double().flatten(1)
        sizes = change.abs().amax(1) if threat.norm == "linf" else change.norm(dim=1)
        assert sizes.max() <= threat.epsilon + 1e-7
        assert sizes.max() > 0.9 * threat.epsilon
        assert found.min() >= 0
        assert found.max() <= 1
    labels = images.labels
    simple = torch.cat([found for _, _, found in crafted[:2]])
    through = torch.cat([found for _, _, found in crafted[2:]])
    assert plain.correct == count(subject.model, simple, labels, [0.1] * 60)
    mean = residuals(subject.model, simple).mean().item()
    lam = min(max(fit.lines["squared"].intercept + fit.lines["squared"].slope * mean, 0.1), 1.5)
    assert static.lam == pytest.approx(lam, abs=1e-5)
    assert static.correct == count(subject.model, simple, labels, [lam] * 60)
    lambdas = line_at(subject.model, fit, through)
    assert adaptive.lam == pytest.approx(sum(lambdas) / 60, abs=1e-5)
    assert adaptive.correct == count(subject.model, through, labels, lambdas)
    assert not torch.equal(simple, through)
    # The attacker saw the model at the training lambda, and the policy with one lambda per image.
    (at_training_lambda, clean, _), (policy, _, _) = crafted[0], crafted[2]
    with torch.no_grad():
        torch.testing.assert_close(at_training_lambda(clean), logits_at(subject.model, clean, 0.1))
        seen = logits_at(subject.model, clean, torch.tensor(line_at(subject.model, fit, clean)))
        torch.testing.assert_close(policy(clean), seen, rtol=1e-4, atol=1e-4)


def test_an_attack_through_the_policy_is_stronger_than_the_transfer_test(
    subject: Subject, images: ImageSet, store: ResultStore
) -> None:
    (clean,) = evaluate_clean(subject, images, store, policies=("adaptive-image",))
    (adaptive,) = attack(subject, images, store, protocols=("adaptive",), steps=10, step_size=0.025)
    assert adaptive.correct < clean.correct


def test_records_say_which_attack_it_was(subject: Subject, images: ImageSet, store: ResultStore) -> None:
    (record,) = attack(subject, images, store, protocols=("plain",), restarts=2, seed=5, steps=2)
    it = record.condition
    assert (it.kind, it.name, it.norm, it.epsilon) == ("attack", "pgd (step 0.05)", "linf", 0.1)
    assert (it.steps, it.restarts, it.seed, it.source, it.severity) == (2, 2, 5, "generated", None)
    (other,) = attack(subject, images, store, protocols=("plain",), step_size=None, steps=2)
    assert other.condition.name == "pgd"
    assert len(store.records()) == 2


def test_attacks_are_not_repeated_unless_asked(
    subject: Subject, images: ImageSet, store: ResultStore, crafted: list[tuple[nn.Module, Tensor, Tensor]]
) -> None:
    first = attack(subject, images, store)
    made = len(crafted)
    assert attack(subject, images, store) == first
    assert len(crafted) == made
    again = attack(subject, images, store, remeasure=True)
    assert len(crafted) == 2 * made
    assert [(r.condition, r.correct) for r in again] == [(r.condition, r.correct) for r in first]


def test_a_model_without_lambda_is_attacked_plainly(plain: Subject, images: ImageSet, store: ResultStore) -> None:
    assert default_protocols(plain) == ("plain",)
    (clean,) = evaluate_clean(plain, images, store, policies=("none",))
    (record,) = attack(plain, images, store, protocols=("plain",), threat=ThreatModel("linf", 0.5), steps=10)
    assert (record.condition.policy, record.lam) == ("none", None)
    assert record.correct <= clean.correct
    assert record.correct == 0  # a linear model falls to a budget of half the range


def test_protocols_that_make_no_sense_are_refused(
    subject: Subject, plain: Subject, images: ImageSet, store: ResultStore
) -> None:
    with pytest.raises(UnknownNameError, match="attack protocol"):
        attack(subject, images, store, protocols=("greedy",))
    for protocol in ("static", "adaptive"):
        with pytest.raises(PolicyError, match="only the protocol 'plain'"):
            attack(plain, images, store, protocols=(protocol,))
        with pytest.raises(PolicyError, match="fit-lambda"):
            attack(replace(subject, fits={}), images, store, protocols=(protocol,))
    assert default_protocols(subject) == ("plain", "static", "adaptive")
    assert default_protocols(replace(subject, fits={})) == ("plain",)
    assert store.records() == []


def test_the_model_is_left_as_it_was(subject: Subject, images: ImageSet, store: ResultStore) -> None:
    subject.model.train()
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    attack(subject, images, store)
    assert all(module.training for module in subject.model.modules())
    torch.testing.assert_close(subject.model.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in subject.model.parameters())
