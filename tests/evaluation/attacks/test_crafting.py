"""Adversarial images: who gets which, what they cost, and whether gradients can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.attacks.sanity import check_masking
from robustcsc.data import ImageSet
from robustcsc.evaluation.models import LoadedModel
from robustcsc.layers.gradients import Gradient
from robustcsc.measurements import facts
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import AttackDetails, Flag, GradientChecks, Record
from robustcsc.measurements.store import ResultStore

Attack = Callable[..., list[Record]]
WEAK, STRONG = AttackStep.of("fgsm"), AttackStep.of("pgd", steps=8, step_size=0.03)
FAINT = AttackStep.of("pgd", steps=1, step_size=0.005)


def details(record: Record) -> AttackDetails:
    assert isinstance(record.details, AttackDetails)
    return record.details


@pytest.mark.usefixtures("unchecked")
def test_every_batch_has_a_seed_of_its_own(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def keep(step: AttackStep, model: nn.Module, images: Tensor, *positional: Any, seed: int, **named: Any) -> Tensor:
        seeds.append(seed)
        return images

    monkeypatch.setattr("robustcsc.evaluation.attacks.crafting.craft", keep)
    for seed in (0, 1):
        attack(STRONG, seed=seed, settings={"batch_size": 20})
    assert len(seeds) == len(set(seeds)) == 6


def test_every_victim_is_checked_once(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    victims: list[nn.Module] = []

    def spy(model: nn.Module, *positional: Any, **named: Any) -> GradientChecks:
        victims.append(model)
        return check_masking(model, *positional, **named)

    monkeypatch.setattr("robustcsc.evaluation.attacks.crafting.check_masking", spy)
    protocols = (Protocol.PLAIN, Protocol.STATIC, Protocol.FIXED)
    records = attack(WEAK, protocols=protocols, lambdas=(0.2, 3.0))
    assert len(victims) == 3  # plain and static have one
    plain, static, *fixed = [details(record).checks for record in records]
    assert plain == static and len({plain, *fixed}) == 3


def test_records_say_whether_gradients_can_be_trusted(attack: Attack, model: LoadedModel) -> None:
    (record,) = attack(WEAK)
    checks = details(record).checks
    assert checks is not None and checks.flags == ()
    assert (checks.images, checks.right_at_large_budget) == (10, 0)

    class Scaled(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = 1e4 * self.model(images)
            return logits

    masked = replace(model, subject=facts.replace(model.subject, weights="ee" * 32), model=Scaled(model.model), fits={})
    (record,) = attack(WEAK, attacked=masked)
    checks = details(record).checks
    assert checks is not None and Flag.ZERO_GRADIENTS in checks.flags


def test_gradients_that_nobody_follows_are_not_checked(attack: Attack, plain: LoadedModel) -> None:
    square = AttackStep.of("square", queries=5)
    (record,) = attack(square, protocols=(Protocol.BLACK_BOX,))
    assert details(record).checks is None
    for record in attack(WEAK, protocols=(Protocol.TRANSFER,), surrogate=plain):
        assert details(record).checks is None
    (record,) = attack(WEAK, epsilon=0.0)
    assert details(record).checks is None


@pytest.mark.usefixtures("unchecked")
def test_rounding_to_eight_bits_is_scored_too(
    attack: Attack, crafted: list[tuple[nn.Module, Tensor, Tensor]], images: ImageSet
) -> None:
    (record,) = attack(STRONG, epsilon=0.03)
    changed = torch.cat([found for _, _, found in crafted])
    rounded = (changed * 255).round() / 255
    assert (rounded - changed).abs().max() > 1e-4
    with torch.no_grad():
        right = crafted[0][0].eval()(rounded).argmax(1) == images.labels
    assert details(record).rounded_correct == int(right.sum())


@pytest.mark.usefixtures("unchecked")
def test_attacks_in_turn_get_what_is_left_and_are_counted_together(
    attack: Attack, crafted: list[tuple[nn.Module, Tensor, Tensor]]
) -> None:
    first, second = attack(FAINT, STRONG, protocols=(Protocol.ADAPTIVE,), epsilon=0.05, in_turn=True)
    steps = [record.measurement.perturbation.steps for record in (first, second)]  # type: ignore[union-attr]
    assert steps == [(FAINT,), (FAINT, STRONG)]
    assert first.outcomes is not None and second.outcomes is not None
    assert 0 < second.met < first.met < 60
    bits = second.outcomes.bits
    assert bits & ~first.outcomes.bits == 0 and bits.bit_count() == second.met
    attacked = [len(clean) for _, clean, _ in crafted]
    assert attacked[:2] == [40, 20] and sum(attacked[2:]) == first.met
    told = [details(record) for record in (first, second)]
    costs = [it.cost for it in told if it.cost is not None]
    assert [cost.attacked for cost in costs] == [60, first.met]
    # One image to see that there is a gradient, twice; then the steps.
    assert (costs[0].gradient_calls, costs[0].forward_calls) == (2 + 60, 2 + 60)
    batches = len(attacked) - 2
    assert (costs[1].gradient_calls, costs[1].forward_calls) == (batches + 8 * first.met,) * 2
    assert told[0].rounded_correct is not None and told[1].rounded_correct is None


@pytest.mark.usefixtures("unchecked")
def test_square_asks_nothing_about_images_that_are_wrong_when_clean(
    attack: Attack, crafted: list[tuple[nn.Module, Tensor, Tensor]], images: ImageSet
) -> None:
    (record,) = attack(AttackStep.of("square", queries=3), protocols=(Protocol.BLACK_BOX,), epsilon=0.01)
    pixels = next(images.batches(60)).images
    with torch.no_grad():
        right = crafted[0][0].eval()(pixels).argmax(1) == images.labels
    assert 0 < int(right.sum()) < 60
    assert torch.equal(torch.cat([clean for _, clean, _ in crafted]), pixels[right])
    cost = details(record).cost
    assert cost is not None and cost.attacked == int(right.sum())
    assert record.outcomes is not None and not any(
        stands and not clean for stands, clean in zip(record.outcomes.to_list(), right.tolist(), strict=True)
    )


@pytest.mark.usefixtures("unchecked")
def test_an_image_that_an_attack_puts_right_counts_as_wrong(
    attack: Attack, measure: Callable[..., list[Record]], model: LoadedModel
) -> None:
    (clean,) = measure(model, lambda planner: [planner.clean([model.facts.own_policy])])
    (record,) = attack(AttackStep.of("pgd", steps=1, step_size=0.5), epsilon=0.5)
    assert clean.outcomes is not None and record.outcomes is not None
    assert record.outcomes.bits & ~clean.outcomes.bits == 0


@pytest.mark.usefixtures("unchecked")
def test_a_stopped_series_of_attacks_is_resumed(
    attack: Attack, crafted: list[tuple[nn.Module, Tensor, Tensor]]
) -> None:
    asked: dict[str, Any] = {"protocols": (Protocol.ADAPTIVE,), "epsilon": 0.05, "in_turn": True}
    attack(FAINT, **asked)
    made = len(crafted)
    stopped = attack(FAINT, STRONG, **asked)
    assert sum(len(clean) for _, clean, _ in crafted[made:]) == stopped[0].met
    whole = attack(FAINT, STRONG, **asked, settings={"remeasure": True})
    assert [(it.measurement, it.outcomes) for it in stopped] == [(it.measurement, it.outcomes) for it in whole]


@pytest.mark.usefixtures("unchecked")
def test_a_series_ends_when_no_image_is_left(attack: Attack, store: ResultStore) -> None:
    (record,) = attack(STRONG, WEAK, epsilon=0.5, in_turn=True)
    assert record.met == 0
    assert store.records() == [record]


@pytest.mark.usefixtures("unchecked")
def test_static_is_crafted_once_with_plain_and_never_in_turn(
    attack: Attack, crafted: list[tuple[nn.Module, Tensor, Tensor]]
) -> None:
    records = attack(WEAK, STRONG, protocols=(Protocol.PLAIN, Protocol.STATIC), in_turn=True)
    made = [record.measurement.perturbation for record in records]
    found = [(it.protocol, it.steps) for it in made]  # type: ignore[union-attr]
    assert found == [
        (Protocol.PLAIN, (WEAK,)),
        (Protocol.PLAIN, (WEAK, STRONG)),
        (Protocol.STATIC, (WEAK,)),
        (Protocol.STATIC, (STRONG,)),
    ]
    costs = [details(record).cost for record in records[2:]]
    assert all(cost is not None and cost.attacked == 60 for cost in costs)
    assert sum(len(clean) for _, clean, _ in crafted[:2]) == 60 and len(crafted[2][1]) < 40


@pytest.mark.usefixtures("unchecked")
def test_attacks_are_not_repeated_unless_asked(attack: Attack, crafted: list[tuple[nn.Module, Tensor, Tensor]]) -> None:
    protocols = (Protocol.PLAIN, Protocol.STATIC, Protocol.ADAPTIVE)
    step = AttackStep.of("pgd", steps=2, step_size=0.05)
    first = attack(step, protocols=protocols)
    made = len(crafted)
    assert attack(step, protocols=protocols) == first
    assert len(crafted) == made
    again = attack(step, protocols=protocols, settings={"remeasure": True})
    assert len(crafted) == 2 * made
    assert [(r.measurement, r.outcomes) for r in again] == [(r.measurement, r.outcomes) for r in first]


@pytest.mark.usefixtures("unchecked")
def test_an_attack_in_other_batches_is_another_record(attack: Attack, store: ResultStore) -> None:
    for size in (5, 9, 5):
        attack(FAINT, settings={"batch_size": size})
    assert [record.measurement.batch_size for record in store.records()] == [5, 9]


def test_the_model_is_left_as_it_was(attack: Attack, model: LoadedModel) -> None:
    model.model.train()
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    attack(FAINT, protocols=(Protocol.PLAIN, Protocol.STATIC, Protocol.ADAPTIVE))
    assert all(module.training for module in model.model.modules())
    torch.testing.assert_close(model.model.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.model.parameters())


class Misleading(nn.Module):
    """A model whose implicit gradient points the other way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.gradient: Gradient = "implicit"

    def forward(self, images: Tensor) -> Tensor:
        sign = -1 if self.gradient == "implicit" else 1
        logits: Tensor = self.model(images.detach() + sign * (images - images.detach()))
        return logits


def test_attacks_take_the_stronger_of_two_gradients(model: LoadedModel, attack: Attack) -> None:
    subject = facts.replace(model.subject, weights="0f" * 32)
    misled = replace(model, subject=subject, model=Misleading(model.model))
    (expected,) = attack(STRONG, protocols=(Protocol.PLAIN,))
    (found,) = attack(STRONG, attacked=misled, protocols=(Protocol.PLAIN,))
    compared = details(found).checks.compared  # type: ignore[union-attr]
    assert compared is not None and compared.unrolled_is_stronger and found.met == expected.met
    assert misled.model.gradient == "implicit"
