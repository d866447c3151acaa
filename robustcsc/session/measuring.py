"""Measuring a plan: how it is done, with what, and what comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from robustcsc.errors import PolicyError
from robustcsc.evaluation.engines.cluster import RayCluster
from robustcsc.measurements.adaptations import NONE, Adaptation, parse_adaptation
from robustcsc.measurements.facts import replace
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.frames import records_frame
from robustcsc.measurements.passes import Plan
from robustcsc.measurements.perturbations import Pixels
from robustcsc.measurements.policies import Adaptive, Blind, Fitted, Policy, Scope, lambda_of
from robustcsc.measurements.records import Measurement, Precision, Record
from robustcsc.progress import Note, Progress, quiet, silent
from robustcsc.reports.cohorts.words import stored_words

if TYPE_CHECKING:
    import pandas as pd

    from robustcsc.data import ImageSet
    from robustcsc.evaluation.jobs import Engine
    from robustcsc.evaluation.measure import Evaluator
    from robustcsc.evaluation.models import LoadedModel
    from robustcsc.evaluation.plan import BatchSize, Planner
    from robustcsc.evaluation.sources import Inputs
    from robustcsc.evaluation.timing import Team

#: How lambda is chosen: a policy, its name, or a lambda fit.
AnyPolicy = str | Policy | LambdaFit


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How measuring is done, whatever is measured.

    Attributes:
        batch_size: Images at a time; ``"auto"`` for as many as the memory has room for, where counts do not depend
            on it.
        precision: What models compute in: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast, which has records and
            lambda fits of its own.
        test_time: What else is done at test time, each beside every lambda policy: adaptations, or words such as
            ``"shift"``, ``"bn"``, ``"tent"``, ``"denoise-wavelet"`` or ``"none"``.
        remeasure: Whether to measure again what the run has.
        workers: How many processes measure at once; by default this one, or as many as the Ray cluster has room for. A
            script that asks for several keeps what it does behind ``if __name__ == "__main__":``, as each of them
            imports it.
        ray: The Ray cluster to measure on; this machine measures if ``None``.
        dry_run: Whether to measure and write nothing; `Results.plan` then says what would be measured.
        progress: Told after each batch.
        note: Told what is worth knowing but no result.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.open("sdnet-digits", measuring=rc.Measuring(batch_size=10, note=print))
        sdnet-digits is the model that comes with the package, as there is no runs/sdnet-digits yet.
    """

    batch_size: BatchSize = 250
    precision: Precision = "fp32"
    test_time: Sequence[str | Adaptation] = ()
    remeasure: bool = False
    workers: int | None = None
    ray: RayCluster | None = None
    dry_run: bool = False
    progress: Progress = silent
    note: Note = quiet

    @property
    def adaptations(self) -> tuple[Adaptation | None, ...]:
        """What else is done at test time; `None` stands for nothing.

        Raises:
            UnknownNameError: There is no such adaptation.
            PolicyError: A setting is out of range.
        """
        return tuple(parse_adaptation(it) if isinstance(it, str) else it for it in self.test_time or (NONE,))

    def team(self, alone: float) -> Team:
        """Returns who would share a plan of which one worker has to do the share `alone`, in [0, 1].

        How many workers a Ray cluster has room for is not asked: without a number it is taken for one.
        """
        from robustcsc.evaluation.timing import STARTING, STARTING_RAY, Team

        workers, ray = self.workers or 1, self.ray
        starting = 0.0 if workers == 1 and ray is None else STARTING
        if ray is not None and ray.chosen_address is None:
            starting = STARTING_RAY
        return Team(workers=workers, alone=alone, starting=starting, one_thread=ray is not None)


class Results(Sequence[Record]):
    """Records that one call measured or found in the run.

    Attributes:
        missing: What would have been measured in a dry run.
        plan: What that would have asked of the model; ``None`` if it was no dry run.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.open("sdnet-digits")
        >>> results = sdnet.sweep(sdnet.images(limit=50), corruptions="gaussian_noise", severities=[1, 5])
        >>> [record.met for record in results]
        [48, 48, 49]
        >>> results.to_frame()[["name", "severity", "rate"]]
                     name  severity  rate
        0             NaN      <NA>  0.96
        1  gaussian_noise         1  0.96
        2  gaussian_noise         5  0.98
    """

    def __init__(
        self, records: Iterable[Record], missing: Iterable[Measurement] = (), plan: Plan | None = None
    ) -> None:
        self._records = tuple(records)
        self.missing, self.plan = tuple(missing), plan

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """Returns one record or several."""
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        """Returns the rows of the frame."""
        return repr(self.to_frame())

    def to_frame(self) -> pd.DataFrame:
        """Returns one row per record, as `robustcsc.measurements.frames.flat` makes it."""
        return records_frame(self)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A model, its images and all else that a plan needs.

    Attributes:
        model: The model.
        inputs: The images and what else is read.
        policies: The lambda policies that were asked for, or that suit the model.
        measuring: How measuring is done.
    """

    model: LoadedModel
    inputs: Inputs
    policies: tuple[Policy, ...]
    measuring: Measuring

    @property
    def images(self) -> ImageSet:
        """The clean images."""
        return self.inputs.images

    @property
    def planner(self) -> Planner:
        """What makes the cells of a plan."""
        from robustcsc.evaluation.plan import Planner
        from robustcsc.evaluation.sources import images_fact

        return Planner(model=self.model.facts, images=images_fact(self.images), batch_size=self.measuring.batch_size)

    @cached_property
    def evaluator(self) -> Evaluator:
        """What measures a cell; it keeps what cells share."""
        from robustcsc.evaluation.measure import Evaluator

        how = self.measuring
        return Evaluator(
            model=self.model,
            inputs=self.inputs,
            batch_size=how.batch_size,
            remeasure=how.remeasure,
            progress=how.progress,
        )

    @contextmanager
    def engine(self) -> Iterator[Engine | None]:
        """Yields who measures, ``None`` for this process; workers end with the block."""
        how = self.measuring
        engine: Processes | RayEngine
        if how.ray is not None:
            from robustcsc.evaluation.engines.ray import RayEngine

            cluster = how.ray
            if cluster.gpus_per_worker is None:
                cluster = dataclasses.replace(cluster, gpus_per_worker=int(self.model.device.type == "cuda"))
            engine = RayEngine(cluster=cluster, evaluator=self.evaluator, most=how.workers, note=how.note)
        elif how.workers in (None, 1):
            yield None
            return
        else:
            from robustcsc.evaluation.engines.processes import Processes

            engine = Processes(self.evaluator, how.workers)
        with closing(engine):
            yield engine

    def reading(self, located: Mapping[str, Path | str | None], **inputs: Any) -> Self:
        """Returns the setup with more inputs.

        Args:
            located: Where they lie, by the names of the fields of `Location`; ``None`` is left out.
            inputs: The inputs, by the names of the fields of `Inputs`.

        Raises:
            TypeError: There is no such input.
        """
        places = {part: it.expanduser().absolute() if isinstance(it, Path) else it for part, it in located.items()}
        location = replace(self.inputs.location, **{part: str(it) for part, it in places.items() if it})
        return dataclasses.replace(self, inputs=dataclasses.replace(self.inputs, location=location, **inputs))


def chosen_policies(model: LoadedModel, asked: Sequence[AnyPolicy]) -> tuple[LoadedModel, tuple[Policy, ...]]:
    """Returns the policies that were asked for, and the model with the lambda fits that are among them.

    Raises:
        PolicyError: A policy needs a lambda or a fit that is not there, or a fit is one of other weights.
        UnknownNameError: There is no such policy.
    """
    given = tuple(it for it in asked if isinstance(it, LambdaFit))
    for fit in given:
        if fit.weights != model.subject.weights:
            raise PolicyError(f"The lambda fit {fit.digest} belongs to other weights: fit lambda for this model.")
        if fit.precision != model.precision:
            raise PolicyError(
                f"The lambda fit {fit.digest} was made in {fit.precision}, but the model computes in "
                f"{model.precision}: fit lambda in {model.precision}, with --precision {model.precision}."
            )
    model = dataclasses.replace(model, given_fits=given)
    return model, model.facts.policies([_policy_of(it) if isinstance(it, LambdaFit) else it for it in asked])


def _policy_of(fit: LambdaFit) -> Policy:
    """Returns the policy that a fit stands for: blind if it has an estimator, else the paper's."""
    return Blind(fit=fit.digest) if fit.estimator else Adaptive(scope=Scope.DATASET, fit=fit.digest)


def note_other_pixels(setup: Setup, pixels: Pixels) -> None:
    """Says which lambda fits that may be used were made on noisy images that were stored otherwise."""
    facts = setup.model.facts
    adaptive = [it.fit for it in map(lambda_of, setup.policies) if isinstance(it, Fitted)]
    fits = [facts.fit_by_digest(digest) for digest in adaptive if digest]
    fits += facts.fits.values() if "" in adaptive else ()
    if others := [fit for fit in fits if fit.pixels is not pixels]:
        option = " --float" if pixels is Pixels.FLOAT else ""
        setup.measuring.note(
            f"The lambda fits ({', '.join(dict.fromkeys(fit.noise for fit in others))}) are to noisy images stored as "
            f"{', '.join(dict.fromkeys(stored_words(fit.pixels) for fit in others))}, these are stored as "
            f"{stored_words(pixels)}: `robustcsc fit-lambda{option}` fits lambda to such."
        )
