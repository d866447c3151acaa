"""The smallest budget at which each image breaks, by binary search: a whole security curve for a few attacks."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import torch
from torch import Tensor

from robustcsc.attacks.budget import Calls, counted
from robustcsc.attacks.catalog import Chosen
from robustcsc.attacks.guard import outcome
from robustcsc.measurements.threats import ThreatModel
from robustcsc.errors import PolicyError
from robustcsc.evaluation.cells import with_policy
from robustcsc.evaluation.crafting import Bench
from robustcsc.evaluation.protocols import Target
from robustcsc.evaluation.subject import device_words, versions_words
from robustcsc.evaluation.sweep import clean_condition
from robustcsc.layers.modes import evaluation_mode
from robustcsc.records import MINIMAL, WHITE_BOX, Record, packed

#: The budget is divided into 2^LEVELS parts; an image that resists all of it counts as `RESISTED`.
LEVELS, RESISTED = 6, 255


def minimal_epsilon(bench: Bench, target: Target, attack: Chosen, upper: ThreatModel) -> Record:
    """Returns one record on the smallest budgets up to `upper` at which `attack` breaks each image.

    The number for an image is an upper bound: a budget at which it was broken. That it resisted the next smaller budget
    that was tried does not prove anything about those between.

    ``correct`` counts the images that resist `upper`. The details hold ``levels`` and ``minimal``: in base64 one byte
    for each image, k where it breaks at ``k / 2^levels`` of `upper` (0 if it is misclassified when clean).

    Args:
        bench: The model, the images and the store; a stored record is not measured again.
        target: A white-box target.
        attack: The attack; its step size, if it has one, is a quarter of each budget.
        upper: Norm and largest budget, above 0.

    Raises:
        PolicyError: The target is none whose victim is scored itself.
        AttackError: The attack does not know the norm.
    """
    if target.protocol not in WHITE_BOX or target.averaged:
        raise PolicyError(f"Minimal budgets are of white-box attacks, not of the protocol {target.protocol}.")
    attack.check_norm(upper.norm)
    cell = replace(
        clean_condition(bench.subject, bench.images),
        kind=MINIMAL,
        name=attack.label,
        norm=upper.norm,
        epsilon=float(upper.epsilon),
        steps=attack.effort,
        restarts=attack.restarts,
        protocol=target.protocol,
        seed=bench.seed,
        source="generated",
        batch_size=bench.batch_size,
    )
    condition = with_policy(bench.subject, cell, target.policies[0], bench.batch_size)
    stored = None if bench.remeasure else bench.store.get(condition)
    if stored is not None:
        return stored
    started, calls = time.perf_counter(), Calls()
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(target.victim):
        minimal = [level for found in _search(bench, target, attack, upper, calls) for level in found]
    resisted = [level == RESISTED for level in minimal]
    details = {
        "levels": LEVELS,
        "minimal": base64.b64encode(bytes(minimal)).decode(),
        "forward_calls": calls.forward,
        "gradient_calls": calls.gradient,
    }
    record = Record(
        condition=condition,
        correct=sum(resisted),
        total=len(resisted),
        lam=None,
        device=device_words(bench.subject.device),
        versions=versions_words(),
        seconds=round(time.perf_counter() - started, 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        details=json.dumps(details, sort_keys=True),
        outcomes=packed(resisted),
    )
    bench.store.add(record, replace=bench.remeasure)
    return record


def _search(bench: Bench, target: Target, attack: Chosen, upper: ThreatModel, calls: Calls) -> Iterator[list[int]]:
    """Yields the levels of the images of each batch."""
    done = 0
    for batch in bench.images.batches(bench.batch_size, device=bench.subject.device):
        broken = torch.full((len(batch.labels),), RESISTED, device=batch.labels.device)
        wrong, _ = outcome(target.victim, batch.images, batch.labels)
        broken[wrong] = 0
        resisted = torch.zeros_like(broken)
        level = torch.full_like(broken, 2**LEVELS)
        for _ in range(LEVELS + 1):
            open_ = (broken != 0) & (
                (broken == RESISTED) & (resisted == 0) | (broken - resisted > 1) & (broken != RESISTED)
            )
            for size in sorted(set(level[open_].tolist())):
                rows = (open_ & (level == size)).nonzero().flatten()
                found = _broken(target, attack, upper, size, batch.images[rows], batch.labels[rows], bench.seed, calls)
                broken[rows[found]], resisted[rows[~found]] = size, size
            level = (broken + resisted) // 2
        done += len(batch.labels)
        bench.progress(f"smallest {upper.norm} budget against {target.name}", done, len(bench.images))
        yield broken.tolist()


def _broken(
    target: Target,
    attack: Chosen,
    upper: ThreatModel,
    level: int,
    images: Tensor,
    labels: Tensor,
    seed: int,
    calls: Calls,
) -> Tensor:
    """Returns which images the attack breaks at a level of the budget, (N,) bool."""
    threat = ThreatModel(upper.norm, upper.epsilon * level / 2**LEVELS)
    sized = {"step_size": threat.epsilon / 4} if "step_size" in attack.kind.settings else {}
    fitted = Chosen(attack.name, {**attack.settings, **sized}, attack.restarts)
    with counted(target.victim) as asked:
        found = fitted.craft(target.victim, images, labels, threat, seed=seed)
    calls.forward += asked.forward
    calls.gradient += asked.gradient
    return outcome(target.victim, found, labels)[0]
