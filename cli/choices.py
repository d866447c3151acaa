"""From options to a session. Heavy imports stay inside the functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, progress_display
from robustcsc.cli.threads import start_torch
from robustcsc.evaluation.engines.cluster import RayCluster
from robustcsc.measurements.classes import read_classes
from robustcsc.measurements.datasets import check_asked
from robustcsc.models.known import check_known
from robustcsc.models.published.names import published

if TYPE_CHECKING:
    from robustcsc.evaluation.plan import BatchSize
    from robustcsc.session.session import Session


@dataclass(frozen=True)
class Chosen:
    """The model and the images that the options of a command name.

    Raises:
        RobustCSCError: There is no such run, model or data set; told before torch is imported.
    """

    run: options.Run = None
    model: options.Model = None
    weights: options.Weights = None
    model_option: options.ModelOption = None
    mean: options.Mean = None
    std: options.Std = None
    output: options.Output = ""
    data: options.Data = None
    root: options.Root = None
    download: options.Download = False
    image_size: options.ImageSize = None
    class_order: options.ClassOrder = None
    classes: options.Classes = None
    answers: options.AnswersAmong = None
    readers: options.Readers = 2
    threads: options.Threads = None

    def __post_init__(self) -> None:
        runs.meant(self.run, self.model, self.weights)
        built = options.builder_options(self.model_option)
        if self.model is not None:
            check_known(self.model, built)
        if self.data is not None:
            check_asked(
                self.data,
                image_size=self.image_size,
                class_order=self.class_order,
                download=self.download,
                readers=self.readers,
            )

        if self.classes is not None:
            read_classes(self.classes)

    # Each parameter is an option of its own.
    @contextmanager
    def session(
        self,
        device: options.Device,
        limit: int | None = None,
        *,
        batch_size: BatchSize = 250,
        precision: options.Precision = "fp32",
        test_time: Sequence[str] = (),
        remeasure: bool = False,
        workers: int | None = None,
        dry_run: bool = False,
        ray: RayCluster | None = None,
        writes: bool = True,
    ) -> Iterator[Session]:
        """Opens the session, with progress and notes on standard error.

        Args:
            device: Where to compute.
            limit: Number of test images; all if ``None``.
            batch_size: Images per step.
            precision: What the model computes in.
            test_time: What else is done at test time.
            remeasure: Whether to measure again what the run has.
            workers: How many processes measure at once.
            dry_run: Whether to measure and write nothing.
            ray: The Ray cluster to measure on.
            writes: Whether the run has to be one that can be written to.

        Raises:
            RobustCSCError: There is no such run, model or device, or what the run holds cannot be read.
        """
        run = runs.meant(self.run, self.model, self.weights)
        if writes:
            run.check_writable()
        built = options.builder_options(self.model_option)
        mean, std = options.per_channel("--mean", self.mean), options.per_channel("--std", self.std)

        start_torch(self.threads)
        named = published(self.model or "")
        if named is not None and named.place != "hf" and not run.weights_path.is_file():
            from robustcsc.models.published.places import facts_of

            facts_of(named)  # a misspelt name is told before attacks and fits are imported, which takes seconds

        from robustcsc.session.choices import DataChoice
        from robustcsc.session.measuring import Measuring
        from robustcsc.session.models import BuildChoice
        from robustcsc.session.opening import open as open_session

        with progress_display() as progress:
            yield open_session(
                self.run,
                model=self.model,
                weights=self.weights,
                build=BuildChoice(options=built, mean=mean, std=std, output=self.output),
                data=DataChoice(
                    self.data,
                    self.root,
                    self.download,
                    self.image_size,
                    self.class_order,
                    self.readers,
                    limit,
                    self.classes,
                    self.answers,
                ),
                device=device,
                measuring=Measuring(
                    batch_size=batch_size,
                    precision=precision,
                    test_time=test_time,
                    remeasure=remeasure,
                    workers=workers,
                    dry_run=dry_run,
                    ray=ray,
                    progress=progress,
                    note=note,
                ),
            )


@dataclass(frozen=True)
class Measured:
    """How accuracy is measured, and by whom, as the options of a command say.

    Raises:
        RobustCSCError: There is no such adaptation, an option is for another engine, Ray is not installed, or nobody
            answers at the address; told before torch is imported.
    """

    test_time: options.TestTime = ""
    device: options.Device = "auto"
    workers: options.Workers = None
    engine: options.EngineName = "local"
    address: options.Address = None
    gpus_per_worker: options.GpusPerWorker = None
    precision: options.Precision = "fp32"
    batch_size: options.AnyBatchSize = 250
    remeasure: options.Remeasure = False
    dry_run: options.DryRun = False

    def __post_init__(self) -> None:
        options.adaptations(self.test_time)
        if self.ray is not None:
            self.ray.check()
            return
        given = {"--address": self.address, "--gpus-per-worker": self.gpus_per_worker}
        for option in (name for name, value in given.items() if value is not None):
            raise options.OptionError(f"{option} is for a Ray cluster: add --engine ray, or leave it out.")

    @property
    def ray(self) -> RayCluster | None:
        """The cluster; ``None`` without one."""
        if self.engine != "ray":
            return None
        return RayCluster(address=self.address, gpus_per_worker=self.gpus_per_worker)

    def session(self, chosen: Chosen, limit: int | None) -> AbstractContextManager[Session]:
        """Opens the session that measures, as `Chosen.session` does."""
        return chosen.session(
            self.device,
            limit,
            batch_size=self.batch_size,
            precision=self.precision,
            test_time=options.adaptations(self.test_time),
            remeasure=self.remeasure,
            workers=self.workers,
            dry_run=self.dry_run,
            ray=self.ray,
        )


def choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Returns a command whose parameters of type `Chosen` and `Measured` are spelled out for typer, field by field."""
    signature = inspect.signature(command, eval_str=True)
    groups = {
        each.name: inspect.signature(each.annotation, eval_str=True).parameters
        for each in signature.parameters.values()
        if each.annotation in (Chosen, Measured)
    }
    parameters = [
        option
        for parameter in signature.parameters.values()
        for option in (groups[parameter.name].values() if parameter.name in groups else [parameter])
    ]

    @wraps(command)
    def spelled_out(**values: Any) -> None:
        for name, fields in groups.items():
            values[name] = signature.parameters[name].annotation(**{field: values.pop(field) for field in fields})
        command(**values)

    # What `inspect` and `typing` read.
    vars(spelled_out)["__signature__"] = signature.replace(
        parameters=[it.replace(kind=inspect.Parameter.KEYWORD_ONLY) for it in parameters]
    )
    spelled_out.__annotations__ = {it.name: it.annotation for it in parameters}
    return spelled_out
