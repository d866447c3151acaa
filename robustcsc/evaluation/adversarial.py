"""Attacks on models with and without lambda, and what they leave of the accuracy.

Source: SDNet (Dai et al., NeurIPS 2022), section 4.3 and table 4.

Differences from the paper: it crafts adversarial images at the training lambda and tunes lambda afterwards, which is a
transfer test. That protocol is called ``static`` here and stands beside ``adaptive``, where the attacker differentiates
through the residual and the predicted lambda of every image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn

from robustcsc.adaptive.policies import AdaptiveLambda, FixedLambda
from robustcsc.attacks.gradient import pgd
from robustcsc.attacks.threat import ThreatModel
from robustcsc.data import Batch, ImageSet
from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.evaluation.cells import measure_cell
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import clean_condition
from robustcsc.layers.modes import evaluation_mode
from robustcsc.progress import Progress, silent
from robustcsc.records import Record
from robustcsc.store import ResultStore

#: Protocols by name, with the policies under which the crafted images are scored.
PROTOCOLS: dict[str, tuple[str, ...]] = {
    "plain": ("none", "train"),
    "static": ("adaptive",),
    "adaptive": ("adaptive-image",),
}


def default_protocols(subject: Subject) -> tuple[str, ...]:
    """Returns every protocol that makes sense: only ``plain`` without CSC layers or without a lambda fit."""
    return tuple(PROTOCOLS) if subject.has_lambda and subject.fits else ("plain",)


def attack_pgd(
    subject: Subject,
    images: ImageSet,
    store: ResultStore,
    *,
    threat: ThreatModel,
    protocols: Sequence[str],
    steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int = 250,
    remeasure: bool = False,
    progress: Progress = silent,
) -> Iterator[Record]:
    """Yields the accuracy under projected gradient descent, one record per protocol.

    Args:
        subject: The model.
        images: Clean test images; the adversarial ones are held in memory.
        store: Where records are kept.
        threat: Norm and budget in pixel units of [0, 1].
        protocols: Keys of `PROTOCOLS`.
        steps: Gradient steps.
        step_size: Length of a step; the attack's default when ``None``.
        restarts: Random restarts; every image keeps its worst case.
        seed: Seed of the random starts.
        batch_size: Images at a time.
        remeasure: Whether to measure again what the store has.
        progress: Told after each batch.

    Raises:
        UnknownNameError: If a protocol is unknown.
        PolicyError: If a protocol needs a lambda or a fit that the model or run lacks.
    """
    crafted: dict[str, list[Batch]] = {}
    base = replace(
        clean_condition(subject, images),
        kind="attack",
        name="pgd" if step_size is None else f"pgd (step {step_size:g})",
        norm=threat.norm,
        epsilon=float(threat.epsilon),
        steps=steps,
        restarts=restarts,
        seed=seed,
        source="generated",
        batch_size=batch_size,
    )
    for protocol in protocols:
        policy = protocol_policy(subject, protocol)
        cell = replace(base, protocol=protocol)
        victim, name = protocol_victim(subject, protocol)

        def stream(victim: nn.Module = victim, name: str = name) -> Iterator[Batch]:
            if name not in crafted:
                attempt = _craft(
                    victim, images, threat, steps, step_size, restarts, seed, batch_size, subject, name, progress
                )
                crafted[name] = [Batch(*(part.cpu() for part in batch)) for batch in attempt]
            return (Batch(*(part.to(subject.device) for part in batch)) for batch in crafted[name])

        yield from measure_cell(
            subject,
            cell,
            (policy,),
            stream,
            store,
            num_classes=len(images.classes),
            batch_size=batch_size,
            remeasure=remeasure,
        )


def protocol_policy(subject: Subject, protocol: str) -> str:
    """Returns the lambda policy under which what a protocol crafts is scored.

    Raises:
        UnknownNameError: If the protocol is unknown.
        PolicyError: If it needs a lambda or a fit that the model or run lacks.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError("attack protocol", protocol, PROTOCOLS)
    if protocol == "plain":
        return "train" if subject.has_lambda else "none"
    if not subject.has_lambda:
        raise PolicyError(f"{subject.model_name} has no CSC layer: only the protocol 'plain' makes sense for it.")
    subject.fit_for(None)
    return PROTOCOLS[protocol][0]


def protocol_victim(subject: Subject, protocol: str) -> tuple[nn.Module, str]:
    """Returns the model the attacker differentiates through, and its name."""
    if protocol == "adaptive":
        return AdaptiveLambda(subject.model, subject.fit_for(None), "image"), "the adaptive policy"
    if subject.lam0 is not None:
        return FixedLambda(subject.model, subject.lam0), "the training lambda"
    return subject.model, "the model"


def _craft(
    victim: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    steps: int,
    step_size: float | None,
    restarts: int,
    seed: int,
    batch_size: int,
    subject: Subject,
    name: str,
    progress: Progress,
) -> Iterator[Batch]:
    done = 0
    # Measuring runs in inference mode, in which no gradient can be taken.
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(victim):
        for batch in images.batches(batch_size, device=subject.device):
            adversarial = pgd(
                victim,
                batch.images,
                batch.labels,
                threat,
                steps=steps,
                step_size=step_size,
                restarts=restarts,
                seed=seed * 1_000_003 + int(batch.indices[0]),
            )
            done += len(batch.labels)
            progress(f"PGD {threat.norm} against {name}", done, len(images))
            yield batch._replace(images=adversarial)
