from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robustcsc.attacks.catalog import Chosen
from robustcsc.measurements.threats import Norm, ThreatModel
from robustcsc.data import ImageSet
from robustcsc.errors import PolicyError
from robustcsc.evaluation.crafting import Bench
from robustcsc.evaluation.minimal import LEVELS, RESISTED, minimal_epsilon
from robustcsc.evaluation.protocols import targets
from robustcsc.evaluation.subject import Subject
from robustcsc.measurements.store import ResultStore


class Brightness(nn.Module):
    """Ten classes, of which an image is one of the first two: as its label is even or odd, when clean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        margin = (images * self.weight).sum(dim=(1, 2, 3))
        others = torch.full((len(images), 8), -100.0)
        return torch.cat([margin[:, None], torch.zeros(len(images), 1), others], dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_two_linear_classes_break_at_their_distance(images: ImageSet, store: ResultStore, norm: Norm) -> None:
    model = Brightness()
    subject = Subject(run="b", model_name="b", weights="ab" * 32, model=model, device=torch.device("cpu"))
    (batch,) = images.batches(60)
    with torch.no_grad():
        margin = model(batch.images)[:, 0].double()
    wanted = [row for row in range(60) if batch.labels[row] < 2]
    few = images.subset(torch.tensor(wanted))
    bench = Bench(subject=subject, images=few, store=store, checks=False)
    upper = ThreatModel(norm, 0.4 if norm == "linf" else 2.0)
    attack = Chosen("pgd", {"steps": 40})
    record = minimal_epsilon(bench, targets(subject, "plain")[0], attack, upper)
    told = json.loads(record.details)
    levels = list(base64.b64decode(told["minimal"]))
    assert (told["levels"], len(levels), record.total) == (LEVELS, len(wanted), len(wanted))
    weight = model.weight.detach().double()
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
    assert record.correct == levels.count(RESISTED)
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


def test_a_stored_search_is_not_repeated(subject: Subject, images: ImageSet, store: ResultStore) -> None:
    bench = Bench(subject=subject, images=images, store=store, batch_size=60, checks=False)
    (target,) = targets(subject, "adaptive")
    attack, upper = Chosen("fgsm"), ThreatModel("linf", 0.1)
    first = minimal_epsilon(bench, target, attack, upper)
    assert minimal_epsilon(bench, target, attack, upper) == first
    again = minimal_epsilon(replace(bench, remeasure=True), target, attack, upper)
    assert again.details == first.details
    with pytest.raises(PolicyError, match="not of the protocol static"):
        minimal_epsilon(bench, targets(subject, "static")[0], attack, upper)
