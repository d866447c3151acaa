"""Attacks on the accuracy of a session's model; these functions are methods of `Session`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from robustcsc.data import ImageSet
from robustcsc.errors import DataError, PolicyError, StoreError
from robustcsc.evaluation.attacks.plans import AttackRequest, attack_plan, check_save, completed, suite_plan
from robustcsc.evaluation.attacks.saved import load_adversarial, save_adversarial
from robustcsc.evaluation.attacks.suites import suite_of
from robustcsc.evaluation.attacks.victims import check_differentiable
from robustcsc.locks import alone
from robustcsc.measurements.attacks import AttackStep, typed_step
from robustcsc.measurements.policies import typed_policy
from robustcsc.measurements.records import Measurement
from robustcsc.measurements.threats import DEFAULT_EPSILON, NORMS, Norm, ThreatModel, check_budget
from robustcsc.session.measuring import AnyPolicy, Results, Setup

if TYPE_CHECKING:
    from robustcsc.session.session import Session


def attack(
    session: Session,
    images: ImageSet | None = None,
    request: AttackRequest | None = None,
    *,
    norm: Norm = "linf",
    epsilon: float | None = None,
    surrogate: Session | str | None = None,
    save: str | Path | None = None,
    saving: str = "",
) -> Results:
    """Measures the accuracy on clean images and under attack.

    Args:
        session: The model and its run.
        images: Test images; those of the run if ``None``.
        request: Attacks, budgets and protocols; PGD within `norm` and `epsilon` if ``None``, under every protocol
            that suits the model.
        norm: ``"linf"`` or ``"l2"``.
        epsilon: Budget in pixel units of [0, 1]; 8/255 or 0.5 if ``None``.
        surrogate: The model, run or shipped model that transfer attacks are crafted on.
        save: File to keep the adversarial images in, of one attack on one target.
        saving: The lambda policy of that target, such as ``"blind"``, if the protocol meets several.

    Raises:
        RobustCSCError: An attack or protocol does not suit the model, or as for `evaluate`.
    """
    other, facts = session.other(surrogate), session.model.facts
    if request is None:
        threat = ThreatModel(norm, DEFAULT_EPSILON[norm] if epsilon is None else epsilon)
        request = AttackRequest(steps=(AttackStep.of("pgd"),), threats=(threat,))
    if not request.protocols and facts.has_lambda and not facts.per_image:
        session.measuring.note(
            "Only the training lambda is attacked: for the adaptive one, first run "
            f"`robustcsc fit-lambda --run {session.run.name}`."
        )
    # Mistakes are told before the images are read.
    request = completed(request, facts, other.surrogate if other else None)
    save = None if save is None else Path(save).expanduser()
    check_save(request, save)
    setup = session.setup(images, (), other)
    for step in request.steps:
        step.check_classes(len(setup.images.classes))
    plan = attack_plan(setup.planner, request)
    check_differentiable(setup.model, setup.inputs, plan)
    if save is not None:
        measurement = _saved_of([chain[0].measurements[0] for chain in plan], saving)
        if not session.measuring.dry_run:
            with alone(save, f"{save} is being written", "name another file"):
                _save(save, setup, measurement)
    return session.measured(setup, [setup.planner.clean(facts.adapted([facts.own_policy])), *plan])


def _saved_of(made: Sequence[Measurement], saving: str) -> Measurement:
    """Returns that of several attacks whose images are kept.

    Raises:
        PolicyError: It is not clear which one is meant.
    """
    words = dict.fromkeys(typed_policy(it.policy) for it in made)
    found = [it for it in made if saving in ("", typed_policy(it.policy))]
    if len(found) == 1:
        return found[0]
    if saving and not found:
        told = f"{saving} is not among the lambda policies that the attack meets: write --lambda {next(iter(words))}."
    elif len(words) > 1 and not saving:
        told = f"the attack meets {', '.join(words)}: choose one, such as --lambda {next(iter(words))}."
    else:
        told = "several are asked for: write one --test-time."
    raise PolicyError(f"--save keeps the images of one policy, but {told}")


def _save(path: Path, setup: Setup, measurement: Measurement) -> None:
    """Keeps the adversarial images of a measurement in a file, unless an interrupted command has done so already.

    Raises:
        StoreError: The file holds something else.
    """
    if not path.exists():
        batches = setup.evaluator.crafted(measurement).stream(setup.model.device, setup.measuring.progress)
        save_adversarial(path, batches, measurement, setup.images)
    elif load_adversarial(path).measurement != measurement:
        raise StoreError(f"{path} exists already, with other images: move it away or name another file.")


def suite(
    session: Session,
    name: str,
    images: ImageSet | None = None,
    *,
    norms: Sequence[Norm] | None = None,
    epsilon: float | Sequence[float] | None = None,
    surrogate: Session | str | None = None,
    seed: int = 0,
) -> Results:
    """Measures everything of a suite of attacks that suits the model, and the accuracy on clean images.

    Attacks that need more classes than the model has are left out, as are protocols that need what is not there.

    Args:
        session: The model and its run.
        name: A key of `robustcsc.evaluation.attacks.suites.SUITES`.
        images: Test images; those of the run if ``None``.
        norms: Norms of the suite to measure; if ``None`` both, or with `epsilon` linf only, since a budget of one norm
            means little in the other.
        epsilon: Budgets in pixel units of [0, 1], for all attacks of the suite instead of its own.
        surrogate: The model, run or shipped model that transfer attacks are crafted on; without one there is no
            transfer.
        seed: Seed of everything random.

    Raises:
        RobustCSCError: There is no such suite, or as for `attack`.
    """
    named = suite_of(name)
    epsilons = () if epsilon is None else tuple(epsilon) if isinstance(epsilon, Sequence) else (epsilon,)
    norms = norms or (("linf",) if epsilons else NORMS)
    for norm, size in product(norms, epsilons):
        check_budget(ThreatModel(norm, size))
    other, note = session.other(surrogate), session.measuring.note
    setup = session.setup(images, (), other)
    classes = len(setup.images.classes)
    chosen, left_out = named.within(classes)
    if left_out:
        needs = ", ".join(f"{typed_step(step)} (needs {step.classes} classes)" for step in left_out)
        note(f"Left out for a model of {classes} classes: {needs}.")
    source = other.surrogate if other else None
    plan = suite_plan(setup.planner, chosen, norms, epsilons=epsilons, surrogate=source, seed=seed, note=note)
    check_differentiable(setup.model, setup.inputs, plan)
    facts = setup.planner.model
    return session.measured(setup, [setup.planner.clean(facts.adapted([facts.own_policy])), *plan])


def score(session: Session, path: str | Path, *, policies: Sequence[AnyPolicy] = ()) -> Results:
    """Measures the accuracy on adversarial images that `attack` saved, from this model or another one.

    Raises:
        RobustCSCError: There is no such file, or its images do not suit the model.
    """
    path = Path(path).expanduser()
    saved = load_adversarial(path)
    setup = session.setup(None, policies)
    shape, images = tuple(saved.batch.images.shape[1:]), setup.images
    if (shape, saved.num_classes) != (images.image_shape, len(images.classes)):
        name = session.trained.spec.name
        raise DataError(f"{path} holds images that {name} was not made for: choose another --run.")
    if images.logits and images.fingerprint != saved.measurement.images.fingerprint:  # its labels are of other classes
        raise DataError(f"{path} holds other images than {images.name}: type --root and --limit as for --save.")
    size = saved.measurement.batch_size or session.measuring.batch_size
    planner = dataclasses.replace(setup.planner, images=saved.measurement.images, batch_size=size)
    cell = planner.cell(saved.attack, setup.policies, batched=True)
    setup = setup.reading({"files": path}, saved=saved)
    return session.measured(setup, [(cell,)])
