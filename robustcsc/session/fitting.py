"""What a session fits to its model on held-out training images; some of these functions are methods of `Session`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch

from robustcsc.adaptive.fit import fit_lambda as fit_lines
from robustcsc.adaptive.shift import clean_statistics
from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet
from robustcsc.data.splits import evenly_spaced
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.room import room_for
from robustcsc.evaluation.sources import Inputs
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.adaptations import Shift
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.passes import Fits
from robustcsc.measurements.policies import Adapted, Policy
from robustcsc.measurements.references import Reference
from robustcsc.session.choices import note_slow, note_unreadable
from robustcsc.training.parts import heldout_images

if TYPE_CHECKING:
    from robustcsc.session.session import Session

#: Clean images that `Shift` compares batches with.
_CLEAN_IMAGES = 1000


def fit_lambda(session: Session, noise: str = "gaussian", images: ImageSet | None = None) -> LambdaFit:
    """Returns the line from the residual to the best lambda for one noise family, and keeps it in the run.

    Args:
        session: The model and its run.
        noise: ``"gaussian"``, ``"shot"``, ``"speckle"``, ``"impulse"`` or ``"pooled"`` (all four together).
        images: The whole training split; that of the run if ``None``.

    Raises:
        RobustCSCError: As for `fit_lambdas`.
    """
    return session.fit_lambdas([noise], images)[noise]


# Each parameter is a choice of its own that a user makes by name.
def fit_lambdas(
    session: Session,
    noises: Sequence[str] = (*NOISE_KERNELS, "pooled"),
    images: ImageSet | None = None,
    *,
    grid: Sequence[float] | None = None,
    per_layer: bool = False,
    limit: int = 5000,
    spec: Spec | None = None,
    as_published: bool = True,
    seed: int = 0,
) -> Fits:
    """Returns the lines from the residual to the best lambda, and keeps them in the run.

    A fit of the same weights, images and settings is not measured again; a dry run returns such fits only, with a plan
    of the others.

    Args:
        session: The model and its run.
        noises: Noise families, as for `fit_lambda`.
        images: The whole training split; that of the run if ``None``.
        grid: Lambdas to try; 1 to 15 times the training lambda, as in the paper, if ``None``.
        per_layer: Whether each layer gets a lambda of its own: see `robustcsc.adaptive.layer_search`. It takes up to
            twice as many passes over the images as there are layers.
        limit: Number of held-out images to use at most.
        spec: Severity table that the noise levels bracket; the one for the image size if ``None``.
        as_published: Whether noisy images are stored as those of the table; as for `Session.sweep`.
        seed: Seed of the noise, and of the choice of images if there are more than `limit`.

    Raises:
        RobustCSCError: The model has no lambda, a noise is unknown, or the images are not training images.
    """
    session.run.check_writable()
    images = session.images("train") if images is None else images
    heldout, trained_on = heldout_images(images, session.trained)
    if limit < len(heldout):
        order = torch.randperm(len(heldout), generator=torch.Generator().manual_seed(seed))
        heldout = heldout.subset(order[:limit].sort().values)
    model, spec = session.model.answering(images), spec or session.severity_table()
    note_slow(model.precision, session.device, session.measuring.note)
    known = {} if session.measuring.remeasure else model.fits
    fits = room_for(model, heldout, session.measuring.batch_size).used(
        lambda size: fit_lines(
            model.model,
            heldout,
            model_name=session.trained.spec.name,
            weights=session.trained.weights,
            precision=model.precision,
            noises=noises,
            spec=spec,
            trained_on_images=trained_on,
            as_published=as_published,
            grid=grid,
            per_layer=per_layer,
            seed=seed,
            batch_size=size,
            device=session.device,
            progress=session.measuring.progress,
            known=known,
            measure=not session.measuring.dry_run,
        )
    )
    if session.measuring.dry_run and fits.plan:
        inputs = Inputs(images=heldout, spec=spec)
        return Fits(fits, session.plan(fits.plan.pieces, model, inputs))
    note_unreadable(images.unreadable, session.measuring.note)
    with session.kept(images) as run:
        for name, fitted in fits.items():
            if fitted is not known.get(name):
                fitted.save(run.fit_path(name, fitted.precision))
    return fits


def with_reference(session: Session, model: LoadedModel, policies: Iterable[Policy]) -> LoadedModel:
    """Returns a model with what it makes of clean images, if a policy needs it; nothing is written.

    Args:
        session: The session of the model.
        model: The model.
        policies: What it is to be measured under.

    Raises:
        RobustCSCError: The training images cannot be read.
    """
    needed = any(isinstance(it, Adapted) and isinstance(it.by, Shift) for it in policies)
    if not needed or model.reference is not None:
        return model
    heldout, trained_on = heldout_images(session.images("train"), session.trained)
    heldout = evenly_spaced(heldout, _CLEAN_IMAGES)
    session.measuring.note(f"What the model makes of {len(heldout):,} clean training images is measured first.")
    asked = model.answering(heldout).model
    with evaluation_mode(asked):
        layers, agreement = room_for(model, heldout, session.measuring.batch_size).used(
            lambda size: clean_statistics(asked, (batch.images for batch in heldout.batches(size, device=model.device)))
        )
    reference = Reference(
        weights=model.subject.weights,
        precision=model.precision,
        heldout=heldout.fingerprint,
        trained_on_heldout=trained_on,
        images=len(heldout),
        agreement=agreement,
        layers=layers,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return replace(model, reference=reference)
