"""Fooling rates: how many predictions universal perturbations and random noise change.

A prediction counts as changed against the prediction of the same model, under the same lambda policy, for the clean
image: over all images, and over those that are classified as labelled when clean. Images are clamped to [0, 1].

Sources: Moosavi-Dezfooli et al., CVPR 2017; Tang et al., "Deep Transform and Metric Learning Network", section 5.3.2.

Differences from the papers: a universal perturbation is crafted on training images and scored on others, and beside it
stand random perturbations of norm xi, the norm of a perturbation that uses up its budget.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from robustcsc.attacks.random_noise import CONTROLS, check_rho, relative_noise
from robustcsc.measurements.threats import ThreatModel
from robustcsc.attacks.universal import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_DELTA,
    DEFAULT_PASSES,
    check_crafting,
    universal_perturbation,
)
from robustcsc.data import Batch, ImageSet
from robustcsc.errors import AttackError, PolicyError, UnknownNameError
from robustcsc.evaluation.changed import Made, Scorer
from robustcsc.evaluation.perturbations import load_perturbation, save_perturbation
from robustcsc.evaluation.protocols import BASIC, Target, targets
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import clean_condition
from robustcsc.progress import Progress, silent
from robustcsc.records import Condition, Record
from robustcsc.measurements.store import ResultStore


@dataclass(frozen=True, kw_only=True)
class Crafting:
    """How universal perturbations are crafted.

    Attributes:
        images: The crafting images, of a training split.
        delta: Crafting ends once a share of at least ``1 - delta`` of them is fooled.
        passes: Passes over them at most.
        batch_size: Images whose minimal perturbations are added at once; 1 is the published order.
        seed: Seed of the order of the images.
    """

    images: ImageSet
    delta: float = DEFAULT_DELTA
    passes: int = DEFAULT_PASSES
    batch_size: int = DEFAULT_BATCH_SIZE
    seed: int = 0

    @property
    def words(self) -> str:
        """Names the crafting images and settings, as a condition keeps them."""
        images = self.images
        made = f"crafted on {len(images)} {images.split} images ({images.fingerprint})"
        return f"{made}, delta {self.delta:g}, batches of {self.batch_size}"


def attack_uap(
    subject: Subject,
    images: ImageSet,
    store: ResultStore,
    *,
    threats: Sequence[ThreatModel],
    crafting: Crafting,
    folder: Path,
    protocols: Sequence[str] = ("plain",),
    control_seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 250,
    remeasure: bool = False,
    progress: Progress = silent,
) -> Iterator[Record]:
    """Yields the fooling counts of a universal perturbation per protocol and budget, and those of its controls.

    Args:
        subject: The model.
        images: Clean images to score on, other ones than those of `crafting`.
        store: Where records are kept; what it has is neither crafted nor measured again.
        threats: Norms and radii xi in pixel units of [0, 1].
        crafting: The crafting images and settings.
        folder: Where perturbations are kept; one that lies there is not crafted again.
        protocols: Some of `protocols.BASIC`.
        control_seeds: Seeds of the random perturbations of norm xi, one of each kind per seed.
        batch_size: Images scored at a time.
        remeasure: Whether to craft and measure again what is there.
        progress: Told after each batch.

    Raises:
        AttackError: If settings make no sense, or the crafting images are of the test split.
        UnknownNameError: If a protocol is unknown.
        PolicyError: If a protocol needs a lambda or a fit that the model or run lacks.
    """
    check_uap(crafting, threats)
    attacked = {protocol: uap_target(subject, protocol) for protocol in protocols}
    scorer = Scorer(subject, images, store, batch_size, remeasure, progress)
    for protocol, target in attacked.items():
        policy = target.policies[0]
        for threat in threats:
            base = replace(
                clean_condition(subject, images),
                norm=threat.norm,
                epsilon=float(threat.epsilon),
                protocol=protocol,
                source="generated",
            )
            cell = replace(base, kind="uap", name="uap", steps=crafting.passes, spec=crafting.words, seed=crafting.seed)
            make = partial(_universal, subject, target, cell, threat, crafting, folder, remeasure, progress)
            yield from scorer.measure(cell, policy, make)
            for name in CONTROLS:
                for seed in control_seeds:
                    control = replace(base, kind="uap-control", name=name, seed=seed)
                    yield from scorer.measure(control, policy, partial(_control, name, images, threat, seed))


def attack_random_noise(
    subject: Subject,
    images: ImageSet,
    store: ResultStore,
    *,
    rhos: Sequence[float],
    policies: Sequence[str],
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 250,
    remeasure: bool = False,
    progress: Progress = silent,
) -> Iterator[Record]:
    """Yields the fooling counts of Gaussian noise of a given energy, per policy, energy and seed.

    Args:
        subject: The model.
        images: Clean images.
        store: Where records are kept; what it has is not measured again.
        rhos: Energies ``E ||v||^2 / ||x||^2`` of the noise, at least 0.
        policies: As `Subject.policies` returns them, without ``"oracle"``.
        seeds: Seeds of the noise.
        batch_size: Images at a time; the noise does not depend on it.
        remeasure: Whether to measure again what the store has.
        progress: Told after each batch.

    Raises:
        AttackError: If an energy is negative or not finite.
        PolicyError: If the oracle is asked for.
    """
    check_noise(rhos, policies)
    scorer = Scorer(subject, images, store, batch_size, remeasure, progress)
    for policy in policies:
        for rho in rhos:
            for seed in seeds:
                cell = replace(
                    clean_condition(subject, images),
                    kind="random-noise",
                    name="gaussian",
                    epsilon=float(rho),
                    source="generated",
                    seed=seed,
                )
                yield from scorer.measure(cell, policy, partial(_noise, rho, seed))


def check_uap(crafting: Crafting, threats: Sequence[ThreatModel]) -> None:
    """Refuses settings that make no sense, before anything is measured.

    Raises:
        AttackError: xi, delta, passes or batch size is out of range, or the crafting images are of the test split.
    """
    for threat in threats:
        check_crafting(threat, crafting.delta, crafting.passes, crafting.batch_size)
    if crafting.images.split != "train":
        raise AttackError(
            f"A universal perturbation is crafted on training images, not on the {crafting.images.split} split: "
            "what it is scored on must be new to it."
        )


def uap_target(subject: Subject, protocol: str) -> Target:
    """Returns what a universal perturbation is crafted on, and how it is scored.

    Raises:
        UnknownNameError: The protocol is not one of `protocols.BASIC`.
        PolicyError: It needs a lambda or a fit that the model or run lacks.
    """
    if protocol not in BASIC:
        raise UnknownNameError("attack protocol", protocol, BASIC)
    (target,) = targets(subject, protocol)
    return target


def check_noise(rhos: Sequence[float], policies: Sequence[str]) -> None:
    """Refuses settings that make no sense, before anything is measured.

    Raises:
        AttackError: An energy is negative or not finite.
        PolicyError: The oracle is asked for.
    """
    for rho in rhos:
        check_rho(rho)
    if "oracle" in policies:
        raise PolicyError("The oracle chooses lambda for accuracy, so it has no fooling rate: leave it out.")


def _noise(rho: float, seed: int) -> Made:
    def change(batch: Batch) -> Tensor:
        noise = relative_noise(batch.images, rho, seed=seed, indices=batch.indices)
        return (batch.images + noise).clamp_(0, 1)

    return Made(change)


def _control(name: str, images: ImageSet, threat: ThreatModel, seed: int) -> Made:
    return Made(_added(CONTROLS[name](images.image_shape, threat, seed), threat))


def _universal(
    subject: Subject,
    target: Target,
    cell: Condition,
    threat: ThreatModel,
    crafting: Crafting,
    folder: Path,
    remeasure: bool,
    progress: Progress,
) -> Made:
    """Crafts a universal perturbation and keeps it, or takes the one that is kept."""
    fit = subject.fit_for(None).digest if cell.protocol == "adaptive" else ""
    decisive = [cell.weights, target.name, fit, cell.norm, cell.epsilon, cell.steps, cell.spec, cell.seed]
    key = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
    path = folder / f"uap-{threat.norm}-{threat.epsilon:g}-{key[:8]}.safetensors"
    made = None if remeasure else load_perturbation(path, key)
    if made is None:
        made = universal_perturbation(
            target.victim,
            crafting.images,
            threat,
            delta=crafting.delta,
            passes=crafting.passes,
            batch_size=crafting.batch_size,
            seed=crafting.seed,
            device=subject.device,
            progress=progress,
        )
        save_perturbation(path, made, key)
    details = {
        "converged": made.converged,
        "crafting_fooled": made.fooled,
        "crafting_images": made.images,
        "passes": made.passes,
        "perturbation": path.name,
    }
    return Made(_added(made.values, threat), json.dumps(details, sort_keys=True), made.seconds)


def _added(perturbation: Tensor, threat: ThreatModel) -> Callable[[Batch], Tensor]:
    def change(batch: Batch) -> Tensor:
        return threat.project(batch.images + perturbation.to(batch.images), batch.images)

    return change
