"""A file gone through without measuring: what would be done, and every mistake before hours of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from robustcsc.adaptive.fit import fit_pieces
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.sources import Inputs
from robustcsc.evaluation.timing import ALONE, Team
from robustcsc.experiments.doing import done, fits_of
from robustcsc.experiments.steps import Fit, Step
from robustcsc.measurements.fits import DEFINITIONS, LambdaFit, Line
from robustcsc.measurements.passes import Passes, Piece, Plan
from robustcsc.measurements.policies import MULTIPLES
from robustcsc.measurements.records import Precision
from robustcsc.models.catalog import build
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.session.measuring import Measuring
from robustcsc.session.session import Session
from robustcsc.session.training import PreparedTraining
from robustcsc.toml_files import Place, TomlFile


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A table of the file with one run, before it is carried out.

    Attributes:
        step: The table, such as ``"sweep"``.
        run: The run.
        missing: How many weights, fits or records are to be made.
        stored: How many the run has already.
        passes: About how many times a model sees an image for those that are missing.
    """

    step: str
    run: str
    missing: int
    stored: int
    passes: float


@dataclass(frozen=True, kw_only=True)
class Understudy(Session):
    """A session that measures nothing; a model to be trained has fresh weights, and fits to be made are made up.

    Attributes:
        trained_yet: Whether the weights are those that will be measured.
        promised: Noise families whose lambda fits are to be made, and the precision of these.
    """

    trained_yet: bool = True
    promised: tuple[tuple[str, Precision], ...] = ()

    @classmethod
    def of(cls, subject: Session | PreparedTraining) -> Understudy:
        """Returns the understudy of a model, with its test images.

        Raises:
            RobustCSCError: The model cannot be built, or the images cannot be read or do not suit it.
        """
        if isinstance(subject, Session):
            trained, trained_yet = subject.trained, True
        else:  # the run lends the weights a name of their own
            network = build(subject.spec).eval()
            trained, trained_yet = Checkpoint(spec=subject.spec, model=network, weights=f"of {subject.run.name}"), False
        understudy = cls(
            run=subject.run,
            trained=trained,
            device=subject.device,
            data=subject.data,
            measuring=subject.measuring,
            trained_yet=trained_yet,
        )
        return dataclasses.replace(understudy, test_images=understudy.images(), measuring=Measuring(dry_run=True))

    def plan(self, pieces: Sequence[Piece], model: LoadedModel, inputs: Inputs, team: Team = ALONE) -> Plan:
        """Returns the plan of some pieces of work, which is not timed."""
        return Plan(pieces=tuple(pieces))

    @property
    def model(self) -> LoadedModel:
        """The model with the fits it will have."""
        real = super().model
        precision = self.measuring.precision
        promised = {noise: _promise(noise, self.trained) for noise, of in self.promised if of == precision}
        return dataclasses.replace(real, fits={**promised, **real.fits})


def rehearse(
    source: TomlFile, jobs: Iterable[tuple[Place, Step, str]], understudies: Mapping[str, Understudy]
) -> list[Planned]:
    """Returns what the steps with their runs would do, in order.

    Raises:
        ExperimentError: A step cannot be done.
    """
    found = []
    cast: dict[str, Understudy] = dict(understudies)
    for place, step, run in jobs:
        understudy = cast[run]
        with source.blamed(place):
            if isinstance(step, Fit):
                stored = fits_of(step, understudy) if understudy.trained_yet else {}
                promised = tuple((noise, step.precision) for noise in step.noise if noise not in stored)
                cast[run] = dataclasses.replace(understudy, promised=(*understudy.promised, *promised))
                passes = _fit_passes(step, [noise for noise, _ in promised], understudy)
                counts = (len(promised), len(stored), passes.total)
            else:
                results = done(step, understudy, cast)
                asked = results.plan.passes if results.plan else Passes()
                counts = (len(results.missing), len(results), asked.total)
        found.append(Planned(step=str(place[0]), run=run, missing=counts[0], stored=counts[1], passes=counts[2]))
    return found


def _fit_passes(step: Fit, noises: Sequence[str], understudy: Understudy) -> Passes:
    """Returns what fits ask of the model, if as many images are held out as there are test images."""
    facts = understudy.model.facts
    layers = len(facts.training_lambdas) if step.per_layer and len(facts.training_lambdas) > 1 else 0
    images, spec = min(step.limit, len(understudy.images())), understudy.severity_table(step.spec)
    pieces = fit_pieces(noises, images, len(step.grid or MULTIPLES), layers, spec)
    return sum((it.passes for it in pieces), Passes())


def _promise(noise: str, trained: Checkpoint) -> LambdaFit:
    """Returns a lambda fit that says nothing, in place of one to be made."""
    line = Line(slope=0.0, intercept=0.1, r2=0.0)
    return LambdaFit(
        model=trained.spec.name,
        weights=trained.weights,
        dataset="",
        noise=noise,
        seed=0,
        heldout="",
        trained_on_heldout=False,
        lam0=0.1,
        grid=(0.1, 0.2),
        levels=(),
        lines=dict.fromkeys(DEFINITIONS, line),
        dataset_definition="squared",
        image_definition="squared",
        image_line=line,
        image_candidates={},
        created="",
    )
