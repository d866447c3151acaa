"""Predictions that perturbations change; these functions are methods of `Session`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustcsc.data import ImageSet
from robustcsc.evaluation.attacks.victims import check_differentiable
from robustcsc.evaluation.fooling.plans import check_noise, check_split, check_uap, noise_plan, uap_plan
from robustcsc.evaluation.targets import check_protocol
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Crafting
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.threats import ThreatModel
from robustcsc.session.measuring import AnyPolicy, Results, chosen_policies

if TYPE_CHECKING:
    from robustcsc.session.session import Session


def uap(
    session: Session,
    images: ImageSet | None = None,
    *,
    threats: Sequence[ThreatModel],
    crafting: Crafting | None,
    crafting_images: ImageSet | None = None,
    protocols: Sequence[Protocol] = (Protocol.PLAIN,),
    control_seeds: Sequence[int] = (0, 1, 2),
) -> Results:
    """Measures how many predictions a universal perturbation changes, and random ones of the same norm.

    Args:
        session: The model and its run.
        images: Images to score on; the test images of the run if ``None``.
        threats: Norms and radii xi in pixel units of [0, 1].
        crafting: How it is crafted; `Crafting.images` and `Crafting.count` are filled in here. ``None`` for the
            random ones only.
        crafting_images: Images of the training split to craft on; ``crafting.count`` of the run's if ``None``.
        protocols: How crafting meets lambda: plain, static or adaptive.
        control_seeds: Seeds of the random perturbations, one of each kind per seed.

    Raises:
        RobustCSCError: Settings make no sense, or as for `attack`.
    """
    check_uap(threats, crafting)
    for protocol in protocols:
        check_protocol(session.model.facts, protocol)
    setup = session.setup(images, ())
    if crafting is not None:
        seen = crafting_images or session.images("train", crafting.count)
        check_split(seen)
        crafting = replace(crafting, images=seen.fingerprint, count=len(seen))
        setup = setup.reading({}, crafting_images=seen, perturbations=session.run.perturbations)
    plan = uap_plan(setup.planner, crafting, threats, protocols, control_seeds)
    check_differentiable(setup.model, setup.inputs, plan)
    return session.measured(setup, plan)


def random_noise(
    session: Session,
    images: ImageSet | None = None,
    *,
    rhos: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2),
    policies: Sequence[AnyPolicy] = (),
    seeds: Sequence[int] = (0, 1, 2),
) -> Results:
    """Measures how many predictions Gaussian noise of a given energy changes.

    Args:
        session: The model and its run.
        images: Images; the test images of the run if ``None``.
        rhos: Energies ``E ||v||^2 / ||x||^2`` of the noise, 0 to 1.
        policies: As for `evaluate`, without the oracle.
        seeds: Seeds of the noise.

    Raises:
        RobustCSCError: An energy is outside [0, 1], or as for `evaluate`.
    """
    check_noise(rhos, chosen_policies(session.model, policies)[1])
    setup = session.setup(images, policies)
    return session.measured(setup, noise_plan(setup.planner, rhos, setup.policies, seeds))
