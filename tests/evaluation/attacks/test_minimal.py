from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcsc.data import ImageSet
from robustcsc.errors import AttackError, PolicyError
from robustcsc.evaluation.attacks.crafting import LEVELS, RESISTED, smallest_budgets
from robustcsc.evaluation.attacks.victims import Victim, victim_of
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import MinimalBudget
from robustcsc.measurements.policies import TrainingLambda, WorstOf
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import BudgetDetails, Record, Subject
from robustcsc.measurements.threats import NORMS, Norm, ThreatModel
from robustcsc.progress import silent


class Brightness(nn.Module):
    """Ten classes, of which an image is one of the first two: as its label is even or odd, when clean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        margin = (images * self.weight).sum(dim=(1, 2, 3))
        others = torch.full((len(images), 8), -100.0)
        return torch.cat([margin[:, None], torch.zeros(len(images), 1), others], dim=1)


@pytest.mark.parametrize("norm", NORMS)
def test_two_linear_classes_break_at_their_distance(
    images: ImageSet, attack: Callable[..., list[Record]], norm: Norm
) -> None:
    network = Brightness()
    subject = Subject(run="b", model="b", weights="ab" * 32)
    model = LoadedModel(subject=subject, model=network, device=torch.device("cpu"))
    (batch,) = images.batches(60)
    with torch.no_grad():
        margin = network(batch.images)[:, 0].double()
    wanted = [row for row in range(60) if batch.labels[row] < 2]
    few = images.subset(torch.tensor(wanted))
    upper = ThreatModel(norm, 0.4 if norm == "linf" else 2.0)
    step = AttackStep.of("pgd", steps=40)
    (record,) = attack(step, threat=upper, attacked=model, smallest=True, settings={"images": few})
    assert record.measurement.perturbation == MinimalBudget(step=step, threat=upper, protocol=Protocol.PLAIN)
    assert isinstance(record.details, BudgetDetails)
    levels = list(record.details.minimal)
    assert (record.details.levels, len(levels), record.total) == (LEVELS, len(wanted), len(wanted))
    weight = network.weight.detach().double()
    unit = upper.epsilon / 2**LEVELS
    for row, level in zip(wanted, levels, strict=True):
        right = (margin[row] > 0) == (batch.labels[row] == 0)
        if not right:
            assert level == 0
            continue
        # The smallest Linf or L2 change that flips the sign within [0, 1]: found here by sorting or bisection.
        distance = _distance(batch.images[row].double(), weight, float(margin[row]), norm)
        if distance > upper.epsilon * 1.02:
            assert level == RESISTED
        elif distance < upper.epsilon * 0.98:
            assert distance / unit - 0.5 <= level <= distance / unit * 1.05 + 1.5, (distance / unit, level)
    assert record.met == levels.count(RESISTED)
    assert record.outcomes is not None and record.outcomes.to_list() == [level == RESISTED for level in levels]
    if norm == "linf":
        assert any(level % 2 for level in levels if level not in (0, RESISTED))  # halved down to one level


def _distance(image: Tensor, weight: Tensor, margin: float, norm: Norm) -> float:
    """Returns the size of the smallest change within [0, 1] that takes the margin to 0, by bisection."""
    direction = -weight.sign() * (1 if margin > 0 else -1)
    if norm == "l2":
        direction = -weight * (1 if margin > 0 else -1)
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        changed = (image + middle * direction).clamp(0, 1)
        low, high = (low, middle) if float((changed * weight).sum()) * margin <= 0 else (middle, high)
    change = (image + high * direction).clamp(0, 1) - image
    return float(change.abs().max() if norm == "linf" else change.norm())


def test_a_stored_search_is_not_repeated(
    attack: Callable[..., list[Record]], crafted: list[tuple[nn.Module, Tensor, Tensor]], images: ImageSet
) -> None:
    asked: dict[str, Any] = {"protocols": (Protocol.ADAPTIVE,), "smallest": True}
    few = {"images": images.subset(torch.arange(10))}
    (first,) = attack(AttackStep.of("fgsm"), **asked, settings=few)
    made = len(crafted)
    assert made and attack(AttackStep.of("fgsm"), **asked, settings=few) == [first]
    assert len(crafted) == made
    (again,) = attack(AttackStep.of("fgsm"), **asked, settings={**few, "remeasure": True})
    assert again.details == first.details and again.measurement == first.measurement
    assert isinstance(first.details, BudgetDetails) and first.details.cost.attacked == 10
    assert first.details.cost.gradient_calls > 0


def test_searches_that_prove_nothing_are_refused(model: LoadedModel, images: ImageSet) -> None:
    def search(victim: Victim, protocol: Protocol, name: str = "fgsm") -> None:
        asked = MinimalBudget(step=AttackStep.of(name), threat=ThreatModel("linf", 0.1), protocol=protocol)
        smallest_budgets(asked, victim, images, batch_size=60, device=torch.device("cpu"), progress=silent)

    with pytest.raises(PolicyError, match="not with static"):
        search(victim_of(model, Protocol.PLAIN, TrainingLambda(), None), Protocol.STATIC)
    with pytest.raises(PolicyError, match="not with grid"):
        search(victim_of(model, Protocol.GRID, WorstOf((0.1, 0.2)), None), Protocol.GRID)
    with pytest.raises(AttackError, match="supports l2, not linf"):
        search(victim_of(model, Protocol.PLAIN, TrainingLambda(), None), Protocol.PLAIN, "cw")
