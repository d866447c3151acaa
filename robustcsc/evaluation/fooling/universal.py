"""Universal perturbations for a measurement: crafted, or taken from the file that keeps them.

A prediction counts as changed against the prediction of the same model, under the same lambda policy, for the clean
image: over all images, and over those that are classified as labelled when clean. Images are clamped to [0, 1].

Sources: Moosavi-Dezfooli et al., CVPR 2017; Tang et al., "Deep Transform and Metric Learning Network", section 5.3.2.

Differences from the papers: a universal perturbation is crafted on training images and scored on others, and beside it
stand random perturbations of norm xi, the norm of a perturbation that uses up its budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustcsc.attacks.random_noise import check_rho
from robustcsc.attacks.universal import UniversalPerturbation, check_crafting, universal_perturbation
from robustcsc.data import ImageSet
from robustcsc.errors import AttackError, PolicyError
from robustcsc.evaluation.attacks.victims import Victim
from robustcsc.evaluation.fooling.files import load_perturbation, save_perturbation
from robustcsc.evaluation.models import LoadedModel
from robustcsc.measurements.facts import digest_of
from robustcsc.measurements.perturbations import Crafting, Universal
from robustcsc.measurements.policies import Adaptive, Oracle, Policy
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import Progress, silent


def crafted_or_kept(
    made: Universal,
    policy: Policy,
    loaded: LoadedModel,
    victim: Victim,
    images: ImageSet,
    folder: Path,
    *,
    again: bool = False,
    progress: Progress = silent,
) -> tuple[UniversalPerturbation, str]:
    """Returns a universal perturbation and the name of its file; a file that is there is not crafted again.

    Args:
        made: Norm, radius and how it is crafted.
        policy: The policy that scores it, with its fit.
        loaded: The model that is scored.
        victim: The model that it is crafted on.
        images: The crafting images.
        folder: Where perturbations are kept.
        again: Whether to craft anew what is kept.
        progress: Told after each batch.

    Raises:
        AttackError: No finite gradient reaches the images.
        StoreError: The file is damaged or cannot be written.
    """
    fit = policy.fit if made.protocol is Protocol.ADAPTIVE and isinstance(policy, Adaptive) else ""
    key = digest_of((loaded.subject.weights, victim.name, fit, made.threat, made.crafting))
    path = folder / f"uap-{made.threat.norm}-{made.threat.epsilon:g}-{key[:8]}.safetensors"
    found = None if again else load_perturbation(path, key)
    if found is None:
        found = universal_perturbation(
            victim.model,
            images,
            made.threat,
            delta=made.crafting.delta,
            passes=made.crafting.passes,
            batch_size=made.crafting.batch_size,
            seed=made.crafting.seed,
            device=loaded.device,
            progress=progress,
        )
        save_perturbation(path, found, key)
    return found, path.name


def check_uap(threats: Sequence[ThreatModel], crafting: Crafting | None) -> None:
    """Refuses settings that make no sense, before anything is read.

    Raises:
        AttackError: xi, delta, passes or batch size is out of range.
    """
    settings = (crafting.delta, crafting.passes, crafting.batch_size) if crafting else (0.0, 1, 1)
    for threat in threats:
        check_crafting(threat, *settings)


def check_split(images: ImageSet) -> None:
    """Refuses crafting images that are not training images.

    Raises:
        AttackError: They are of another split.
    """
    if images.split != "train":
        raise AttackError(
            f"A universal perturbation is crafted on training images, not on the {images.split} split: the images it "
            "is scored on must be new to it."
        )


def check_noise(rhos: Sequence[float], policies: Sequence[Policy]) -> None:
    """Refuses settings of random noise that make no sense, before anything is measured.

    Raises:
        AttackError: An energy is negative or not finite.
        PolicyError: The oracle is asked for.
    """
    for rho in rhos:
        check_rho(rho)
    if Oracle() in policies:
        raise PolicyError(
            "The oracle chooses lambda for accuracy, so it has no fooling rate: leave it out of --lambda."
        )
