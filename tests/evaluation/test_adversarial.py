from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.adaptive.fit import multiples_of
from robustcsc.adaptive.residuals import logits_at, residuals
from robustcsc.attacks.catalog import Chosen
from robustcsc.attacks.sanity import Checks, check_masking
from robustcsc.measurements.threats import ThreatModel
from robustcsc.data import ImageSet
from robustcsc.errors import AttackError, PolicyError, UnknownNameError
from robustcsc.evaluation.adversarial import attack_images, attack_pgd
from robustcsc.evaluation.crafting import Bench
from robustcsc.evaluation.protocols import BASIC, default_protocols, targets
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import evaluate_clean
from robustcsc.layers.lambdas import set_lambda
from robustcsc.measurements.fits import LambdaFit
from robustcsc.records import Record
from robustcsc.measurements.store import ResultStore

LINF = ThreatModel("linf", 0.1)


@pytest.fixture
def crafted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """Every call of the attack: the model it saw, the clean and the adversarial images."""
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []

    craft = Chosen.craft

    def spy(attack: Chosen, model: nn.Module, images: Tensor, *positional: Any, **named: Any) -> Tensor:
        found = craft(attack, model, images, *positional, **named)
        seen.append((model, images, found))
        return found

    monkeypatch.setattr(Chosen, "craft", spy)
    return seen


def attack(subject: Subject, images: ImageSet, store: ResultStore, **settings: Any) -> list[Record]:
    chosen: dict[str, Any] = {"threat": LINF, "protocols": BASIC, "steps": 4, "step_size": 0.05}
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


def test_every_batch_has_a_seed_of_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def keep(attack: Chosen, model: nn.Module, images: Tensor, *positional: Any, seed: int, **named: Any) -> Tensor:
        seeds.append(seed)
        return images

    monkeypatch.setattr(Chosen, "craft", keep)
    for seed in (0, 1):
        list(attack_images(replace(bench, batch_size=20, seed=seed), [STRONG], LINF, protocols=("plain",)))
    assert len(seeds) == len(set(seeds)) == 6


def test_every_victim_is_checked_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    victims: list[nn.Module] = []

    def spy(model: nn.Module, *positional: Any, **named: Any) -> Checks:
        victims.append(model)
        return check_masking(model, *positional, **named)

    monkeypatch.setattr("robustcsc.evaluation.crafting.check_masking", spy)
    checking = replace(bench, checks=True)
    records = list(attack_images(checking, [WEAK], LINF, protocols=("plain", "static", "fixed"), lambdas=(0.2, 3.0)))
    assert len(victims) == 3  # plain and static have one
    shares = [json.loads(record.details)["checks"]["zero_gradients"] for record in records]
    assert shares[0] == shares[1] and len(set(shares)) > 1


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
        with pytest.raises(PolicyError, match="there is no lambda for an attack to meet"):
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


# --- several attacks, several lambdas, other models ---


@pytest.fixture
def bench(subject: Subject, images: ImageSet, store: ResultStore) -> Bench:
    return Bench(subject=subject, images=images, store=store, batch_size=40, checks=False)


WEAK, STRONG = Chosen("fgsm"), Chosen("pgd", {"steps": 8, "step_size": 0.03})
FAINT = Chosen("pgd", {"steps": 1, "step_size": 0.005})


def test_attacks_in_turn_get_what_is_left_and_are_counted_together(
    bench: Bench, crafted: list[tuple[nn.Module, Tensor, Tensor]]
) -> None:
    threat = ThreatModel("linf", 0.05)
    first, second = attack_images(bench, [FAINT, STRONG], threat, protocols=("adaptive",), in_turn=True)
    assert (first.condition.name, second.condition.name) == (
        "pgd (step 0.005)",
        "pgd (1 steps, step 0.005) > pgd (step 0.03)",
    )
    assert first.bits is not None and second.bits is not None
    assert 0 < second.correct < first.correct < 60
    assert second.bits & ~first.bits == 0 and second.bits.bit_count() == second.correct
    attacked = [len(clean) for _, clean, _ in crafted]
    assert attacked[:2] == [40, 20] and sum(attacked[2:]) == first.correct
    told = [json.loads(record.details) for record in (first, second)]
    assert [it["attacked"] for it in told] == [60, first.correct]
    # One image to see that there is a gradient, twice; then the steps; the outcome before and after goes forwards only.
    assert told[0]["gradient_calls"] == 2 + 60 and told[0]["forward_calls"] == 2 + 60 + 2 * 60
    batches = len(attacked) - 2
    assert told[1]["gradient_calls"] == batches + 8 * first.correct
    assert "rounded_correct" in told[0] and "rounded_correct" not in told[1]


def test_a_stopped_series_of_attacks_goes_on_where_it_was(
    bench: Bench, crafted: list[tuple[nn.Module, Tensor, Tensor]]
) -> None:
    threat = ThreatModel("linf", 0.05)
    list(attack_images(bench, [FAINT], threat, protocols=("adaptive",), in_turn=True))
    made = len(crafted)
    stopped = list(attack_images(bench, [FAINT, STRONG], threat, protocols=("adaptive",), in_turn=True))
    assert sum(len(clean) for _, clean, _ in crafted[made:]) == stopped[0].correct
    whole = list(
        attack_images(replace(bench, remeasure=True), [FAINT, STRONG], threat, protocols=("adaptive",), in_turn=True)
    )
    assert [(it.condition, it.outcomes) for it in stopped] == [(it.condition, it.outcomes) for it in whole]


def test_a_series_ends_when_no_image_is_left(bench: Bench) -> None:
    found = list(attack_images(bench, [STRONG, WEAK], ThreatModel("linf", 0.5), protocols=("plain",), in_turn=True))
    assert [(it.condition.name, it.correct) for it in found] == [("pgd (step 0.03)", 0)]


def test_static_is_crafted_once_with_plain_and_never_in_turn(
    bench: Bench, crafted: list[tuple[nn.Module, Tensor, Tensor]]
) -> None:
    records = list(attack_images(bench, [WEAK, STRONG], LINF, protocols=("plain", "static"), in_turn=True))
    names = [(it.condition.protocol, it.condition.name) for it in records]
    assert names[-2:] == [("static", "fgsm"), ("static", "pgd (step 0.03)")]
    static = [it for it in records if it.condition.protocol == "static"]
    assert all(json.loads(it.details)["attacked"] == 60 for it in static)
    assert sum(len(clean) for _, clean, _ in crafted[:2]) == 60 and len(crafted[2][1]) < 40


def test_fixed_attacks_and_scores_at_each_lambda(
    bench: Bench, crafted: list[tuple[nn.Module, Tensor, Tensor]], images: ImageSet
) -> None:
    records = list(attack_images(bench, [STRONG], LINF, protocols=("fixed",), lambdas=(0.1, 0.8)))
    assert [it.condition.policy for it in records] == ["fixed=0.1", "fixed=0.8"]
    for record, at, lam in zip(records, (0, 2), (0.1, 0.8), strict=True):
        changed = torch.cat([found for _, _, found in crafted[at : at + 2]])
        assert record.correct == count(bench.subject.model, changed, images.labels, [lam] * 60)
        assert record.lam == pytest.approx(lam)


def test_grid_raises_the_mean_loss_and_is_scored_at_the_worst_lambda(
    bench: Bench, crafted: list[tuple[nn.Module, Tensor, Tensor]], images: ImageSet
) -> None:
    lambdas = (0.1, 0.5, 1.2)
    (record,) = attack_images(bench, [STRONG], ThreatModel("linf", 0.04), protocols=("grid",), lambdas=lambdas)
    assert (record.condition.policy, record.lam) == ("worst=0.1,0.5,1.2", None)
    changed, clean = torch.cat([it for _, _, it in crafted]), torch.cat([it for _, it, _ in crafted])
    with torch.no_grad():
        logits = [logits_at(bench.subject.model, changed, lam) for lam in lambdas]
        before = [logits_at(bench.subject.model, clean, lam) for lam in lambdas]
        seen = crafted[0][0](clean)
    right = torch.stack([it.argmax(1) == images.labels for it in logits]).all(dim=0)
    assert record.correct == int(right.sum())
    losses = [[nn.functional.cross_entropy(it, images.labels) for it in each] for each in (before, logits)]
    assert torch.stack(losses[1]).mean() > torch.stack(losses[0]).mean()
    # What the attacker sees: minus its entry at the label is the mean cross-entropy.
    own = -seen.gather(1, images.labels[:, None]).mean()
    torch.testing.assert_close(own, torch.stack(losses[0]).mean())


def test_transfer_is_crafted_on_the_other_model(
    bench: Bench, plain: Subject, crafted: list[tuple[nn.Module, Tensor, Tensor]], images: ImageSet
) -> None:
    records = list(attack_images(bench, [STRONG], LINF, protocols=("transfer",), source=plain))
    assert [it.condition.policy for it in records] == ["train", "adaptive-image"]
    assert {it.condition.protocol for it in records} == {"transfer from linear@11111111"}
    assert all(model is plain.model for model, _, _ in crafted) and len(crafted) == 2
    changed = torch.cat([found for _, _, found in crafted])
    assert records[0].correct == count(bench.subject.model, changed, images.labels, [0.1] * 60)
    with pytest.raises(PolicyError, match="name it with --from"):
        list(attack_images(bench, [STRONG], LINF, protocols=("transfer",)))
    with pytest.raises(PolicyError, match="names the same weights"):
        list(attack_images(bench, [STRONG], LINF, protocols=("transfer",), source=bench.subject))


def test_black_box_asks_the_adaptive_policy_and_takes_no_gradient(bench: Bench, plain: Subject) -> None:
    attack = Chosen("square", {"queries": 60})
    (record,) = attack_images(bench, [attack], ThreatModel("linf", 0.02), protocols=("black-box",))
    told = json.loads(record.details)
    assert (record.condition.policy, record.condition.steps) == ("adaptive-image", 60)
    assert told["gradient_calls"] == 0 and 60 < told["forward_calls"] <= 60 * 64
    assert targets(plain, "black-box")[0].policies == ("none",)


def test_gradient_attacks_are_no_black_box(bench: Bench) -> None:
    with pytest.raises(AttackError, match="without gradients: leave it or the attack pgd out"):
        list(attack_images(bench, [STRONG], LINF, protocols=("plain", "black-box")))


def test_records_say_whether_gradients_can_be_trusted(bench: Bench) -> None:
    checking = replace(bench, checks=True)
    (record,) = attack_images(checking, [WEAK], ThreatModel("linf", 0.1), protocols=("plain",))
    told = json.loads(record.details)
    assert told["flags"] == [] and told["checks"]["images"] == 20 and told["checks"]["right_at_large_budget"] == 0

    class Scaled(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = 1e4 * self.model(images)
            return logits

    masked = replace(bench.subject, model=Scaled(bench.subject.model), weights="ee" * 32, fits={})
    (record,) = attack_images(replace(checking, subject=masked), [WEAK], LINF, protocols=("plain",))
    assert "zero-gradients" in json.loads(record.details)["flags"]


def test_what_was_crafted_at_the_training_lambda_is_flagged_like_the_attack_there(bench: Bench) -> None:
    threat = ThreatModel("linf", 0.1)
    plain, static = attack_images(replace(bench, checks=True), [WEAK], threat, protocols=("plain", "static"))
    assert static.condition.protocol == "static"
    assert json.loads(static.details)["checks"] == json.loads(plain.details)["checks"]


def test_rounding_to_eight_bits_is_scored_too(
    bench: Bench, crafted: list[tuple[nn.Module, Tensor, Tensor]], images: ImageSet
) -> None:
    (record,) = attack_images(bench, [STRONG], ThreatModel("linf", 0.03), protocols=("plain",))
    changed = torch.cat([found for _, _, found in crafted])
    rounded = (changed * 255).round() / 255
    assert (rounded - changed).abs().max() > 1e-4
    expected = count(bench.subject.model, rounded, images.labels, [0.1] * 60)
    assert json.loads(record.details)["rounded_correct"] == expected


def test_tuned_is_the_transfer_test_at_the_best_lambda_by_the_labels(
    bench: Bench, crafted: list[tuple[nn.Module, Tensor, Tensor]], images: ImageSet
) -> None:
    plain, static, tuned = attack_images(bench, [STRONG], LINF, protocols=("plain", "static", "tuned"))
    assert len(crafted) == 2  # once for all three
    assert (tuned.condition.protocol, tuned.condition.policy) == ("static", "oracle")
    changed = torch.cat([found for _, _, found in crafted])
    by_lambda = {lam: count(bench.subject.model, changed, images.labels, [lam] * 60) for lam in multiples_of(0.1)}
    assert tuned.correct == max(by_lambda.values()) >= max(plain.correct, static.correct)
    assert tuned.lam is not None and by_lambda[round(tuned.lam, 4)] == tuned.correct
