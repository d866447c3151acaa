"""A file gone through without measuring: what would be done, and every mistake before hours of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from robustcsc.adaptive.layer_search import MOST_PASSES
from robustcsc.adaptive.search import levels_of
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.sources import Inputs
from robustcsc.experiments.doing import done, fits_of
from robustcsc.experiments.steps import Fit, Step
from robustcsc.measurements.fits import DEFINITIONS, FAMILIES, LambdaFit, Line
from robustcsc.measurements.passes import Piece, Plan
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
        effort: About how long those that are missing take, where one image through the model takes 1.
    """

    step: str
    run: str
    missing: int
    stored: int
    effort: float


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

    def plan(self, pieces: Sequence[Piece], model: LoadedModel, inputs: Inputs) -> Plan:
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
                passes = sum(_fit_passes(step, noise, understudy) for noise, _ in promised)
                counts = (len(promised), len(stored), passes)
            else:
                results = done(step, understudy, cast)
                pieces = results.plan.pieces if results.plan else ()
                counts = (len(results.missing), len(results), sum(it.effort for it in pieces))
        found.append(Planned(step=str(place[0]), run=run, missing=counts[0], stored=counts[1], effort=counts[2]))
    return found


def _fit_passes(step: Fit, noise: str, understudy: Understudy) -> float:
    """Returns how often a fit sees an image: half of them, taken to be as many as the test images, at each lambda."""
    levels = sum(len(levels_of(it, understudy.severity_table(step.spec))) for it in FAMILIES[noise])
    lambdas = 1 + len(step.grid or MULTIPLES)
    if step.per_layer and (layers := len(understudy.model.facts.training_lambdas)) > 1:
        lambdas += MOST_PASSES * layers * (lambdas - 2)
    return levels * lambdas * min(step.limit, len(understudy.images())) / 2


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
