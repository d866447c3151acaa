"""What each table of an experiment file does with one model: the call that its command makes, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import msgspec

from robustcsc.evaluation.plan import BatchSize
from robustcsc.experiments.steps import Attack, Evaluate, Fit, RandomNoise, Step, Sweep, Uap
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import Precision
from robustcsc.session.measuring import Results
from robustcsc.session.reporting import keep_fit_tables
from robustcsc.session.session import Session

#: Images at a time where a universal perturbation is scored, as `robustcsc uap` has it.
_SCORING_BATCH = 250


def suited(step: Step, run: str, *, has_lambda: bool) -> Step | None:
    """Returns what a step means for a run; ``None`` if nothing.

    Lambda fits, policies and protocols that need a lambda are for models that have one, and nothing is transferred from
    a model to itself.
    """
    if isinstance(step, Attack) and step.surrogate == run:
        rest = tuple(it for it in step.protocols if it is not Protocol.TRANSFER)
        if step.protocols and not rest:
            return None
        step = msgspec.structs.replace(step, surrogate=None, protocols=rest)
    if has_lambda:
        return step
    if isinstance(step, Fit):
        return None
    if isinstance(step, Attack | Uap):
        suiting = tuple(it for it in step.protocols if not it.needs_lambda)
        return msgspec.structs.replace(step, protocols=suiting) if suiting or not step.protocols else None
    return msgspec.structs.replace(step, lambdas=())


def done(step: Step, session: Session, others: Mapping[str, Session]) -> Results:
    """Returns what a step measures with a session; `others` has the models to craft transfer attacks on, by run."""
    if isinstance(step, Fit):
        fits_of(step, session)
        keep_fit_tables(session.run)
        return Results([])
    batch_size = _SCORING_BATCH if isinstance(step, Uap) else step.batch_size
    test_time = () if isinstance(step, Uap | RandomNoise) else step.test_time
    session = _measuring(session, batch_size, step.precision, test_time)
    images = session.images(limit=step.limit)
    surrogate = others.get(step.surrogate, step.surrogate) if isinstance(step, Attack) and step.surrogate else None
    match step:
        case Evaluate():
            return session.evaluate(images, policies=step.lambdas)
        case Sweep():
            return session.sweep(
                images,
                corruptions=",".join(step.corruptions) or None,
                severities=step.severities,
                policies=step.lambdas,
                spec=session.severity_table(step.spec, step.frost_root),
                corrupted_root=step.corrupted_root,
                as_published=step.as_published,
                seed=step.seed,
            )
        case Attack(suite=None):
            return session.attack(images, step.request, surrogate=surrogate)
        case Attack():
            return session.suite(
                str(step.suite),
                images,
                norms=[step.norm] if step.norm else None,
                epsilon=step.epsilon or None,
                surrogate=surrogate,
                seed=step.seed,
            )
        case Uap():
            return session.uap(
                images,
                threats=step.threats,
                crafting=step.crafting,
                protocols=step.protocols,
                control_seeds=range(step.seed, step.seed + step.seeds),
            )
        case RandomNoise():
            seeds = range(step.seed, step.seed + step.seeds)
            return session.random_noise(images, rhos=step.rho, policies=step.lambdas, seeds=seeds)


def fits_of(step: Fit, session: Session) -> dict[str, LambdaFit]:
    """Returns the lambda fits of a session; in a dry run those that its run has."""
    session = _measuring(session, step.batch_size, step.precision)
    table = session.severity_table(step.spec)
    return session.fit_lambdas(
        step.noise,
        grid=step.grid,
        per_layer=step.per_layer,
        limit=step.limit,
        spec=table,
        as_published=step.as_published,
        seed=step.seed,
    )


def _measuring(session: Session, batch_size: BatchSize, precision: Precision, test_time: Sequence[str] = ()) -> Session:
    how = dataclasses.replace(session.measuring, batch_size=batch_size, precision=precision, test_time=test_time)
    return dataclasses.replace(session, measuring=how)
