"""Forward passes of attacks, beside torchattacks on the same images; and what the checks of gradients add."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
import torchattacks
from row import Row
from torch import nn

from robustcsc.attacks.catalog import counted, craft
from robustcsc.attacks.sanity import check_masking
from robustcsc.data import load
from robustcsc.evaluation.attacks.crafting import CHECKED_IMAGES
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel
from robustcsc.models.checkpoint import load_shipped

IMAGES, QUERIES, STEPS, TARGETS = 100, 200, 20, 3
THREAT = ThreatModel("linf", DEFAULT_EPSILON["linf"])
Peer = Callable[[nn.Module], Any]
#: The attacks of the standard suite, as it runs them, and theirs with the same settings.
ATTACKS: dict[AttackStep, Peer] = {
    AttackStep.of("fgsm"): lambda model: torchattacks.FGSM(model, eps=THREAT.epsilon),
    AttackStep.of("pgd", steps=STEPS): lambda model: torchattacks.PGD(
        model, eps=THREAT.epsilon, alpha=THREAT.epsilon / 4, steps=STEPS
    ),
    AttackStep.of("apgd", steps=STEPS): lambda model: torchattacks.APGD(model, eps=THREAT.epsilon, steps=STEPS),
    AttackStep.of("apgd-t", steps=STEPS, targets=TARGETS): lambda model: torchattacks.APGDT(
        model, eps=THREAT.epsilon, steps=STEPS, n_classes=TARGETS + 1
    ),
    AttackStep.of("square", queries=QUERIES): lambda model: torchattacks.Square(
        model, eps=THREAT.epsilon, n_queries=QUERIES
    ),
}


def rows() -> list[Row]:
    """Returns a row per attack, and one of the checks beside an attack on 100 images."""
    model = nn.Sequential(load_shipped("sdnet-digits").model).eval()  # a new module, whose hooks count the calls
    (batch,) = load("digits", split="test").subset(torch.arange(IMAGES)).batches(IMAGES)
    images, labels = batch.images, batch.labels
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    made: list[Row] = []
    for step, peer in ATTACKS.items():
        chosen = torch.ones_like(right) if step.kind.wrong_too else right
        with counted(model) as ours:  # those that are wrong when clean are known by the clean record
            found = images.clone()
            found[chosen] = craft(step, model, images[chosen], labels[chosen], THREAT, seed=0)
        with counted(model) as theirs:
            other = peer(model)(images, labels)
        with torch.no_grad():
            left, theirs_left = (int(((model(each).argmax(1) == labels) & right).sum()) for each in (found, other))
        note = f"{left} right after ours, {theirs_left} after theirs"
        made.append(_row(f"{step.name}, {IMAGES} digits", _package(), ours.forward, theirs.forward, 1.02, note))
        if step.name == "pgd":
            small = ours.forward
    (few,) = load("digits", split="test").subset(torch.arange(CHECKED_IMAGES)).batches(CHECKED_IMAGES)
    with counted(model) as checks:
        check_masking(model, few.images, few.labels, THREAT)
    what = f"checks of gradients beside pgd on {IMAGES} digits"
    return [*made, _row(what, "the attack", checks.forward, small, 0.1, f"on {CHECKED_IMAGES} images")]


def _package() -> str:
    return f"torchattacks {version('torchattacks')}"


def _row(what: str, other: str, ours: int, theirs: int, at_most: float, note: str) -> Row:
    ratio = ours / theirs
    return Row("attacks", what, other, "forward passes", ours, theirs, ratio, ratio, ratio, at_most, note)
