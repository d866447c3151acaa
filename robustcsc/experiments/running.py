"""Carrying out an experiment file: each table becomes the call of a session that its command makes, too."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from robustcsc.experiments.doing import done, suited
from robustcsc.experiments.experiment import Experiment
from robustcsc.experiments.reading import read_experiment
from robustcsc.experiments.rehearsal import Planned, Understudy, rehearse
from robustcsc.experiments.steps import Step
from robustcsc.files import check_writable, write_whole
from robustcsc.measurements.records import Record
from robustcsc.progress import parts, quiet, silent
from robustcsc.reports.page.build import ReportPaths, check_folder
from robustcsc.session.choices import DataChoice, written
from robustcsc.session.measuring import Measuring
from robustcsc.session.models import BuildChoice
from robustcsc.session.opening import open as open_session
from robustcsc.session.reporting import report
from robustcsc.session.results import keep_results
from robustcsc.session.session import Session
from robustcsc.session.training import PreparedTraining
from robustcsc.toml_files import Place, TomlFile


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an experiment left.

    Attributes:
        sessions: The sessions of its models, by run.
        records: What was measured, or found in the runs.
        report: Where the report lies, if the file asks for one.
    """

    sessions: Mapping[str, Session]
    records: Sequence[Record]
    report: ReportPaths | None


def run_experiment(path: str | Path, *, measuring: Measuring | None = None) -> Outcome:
    r"""Carries out an experiment file: trains, fits, measures and reports what the runs lack.

    The whole file is checked first, so that a mistake at its end is told before hours of training. Carried out again,
    it finds what is there, and resumes an interrupted training.

    Args:
        path: The file; `robustcsc run --example` prints one.
        measuring: Progress and notes.

    Raises:
        ExperimentError: Something in the file is wrong; the sentence has file, line and field.

    Examples:
        >>> import robustcsc as rc
        >>> from pathlib import Path
        >>> _ = Path("experiment.toml").write_text(
        ...     'model.run = "sdnet-digits"\n[sweep]\ncorruptions = "gaussian_noise"\nseverities = [1, 5]\nlimit = 50'
        ... )
        >>> [record.met for record in rc.run_experiment("experiment.toml").records]
        [48, 48, 49]
    """
    return _Laboratory.of(Path(path), measuring or Measuring()).carried_out()


def plan_experiment(path: str | Path, *, measuring: Measuring | None = None) -> list[Planned]:
    r"""Returns what `run_experiment` would do; writes nothing.

    Raises:
        ExperimentError: As `run_experiment`.

    Examples:
        >>> import robustcsc as rc
        >>> from pathlib import Path
        >>> _ = Path("planned.toml").write_text('model.run = "sdnet-digits"\nsweep.corruptions = "noise"')
        >>> [(it.step, it.missing, it.stored) for it in rc.plan_experiment("planned.toml")]
        [('sweep', 21, 0)]
    """
    return _Laboratory.of(Path(path), measuring or Measuring()).planned


@dataclass(frozen=True)
class _Laboratory:
    """An experiment with its models, checked as a whole.

    Attributes:
        source: The file.
        experiment: What it says.
        measuring: How to measure.
        subjects: The models by run, with their places in the file: sessions, and trainings to come.
        understudies: Sessions of the same models that measure nothing.
    """

    source: TomlFile
    experiment: Experiment
    measuring: Measuring
    subjects: Mapping[str, tuple[Place, Session | PreparedTraining]]
    understudies: Mapping[str, Understudy]

    @classmethod
    def of(cls, path: Path, measuring: Measuring) -> _Laboratory:
        """Returns the experiment of a file."""
        source, experiment = read_experiment(path)
        if experiment.report is not None and (html := experiment.report.html) is not None:
            with source.blamed(("report", "html")):
                check_writable(html, "The page", folder=False)
        if experiment.report is not None and (out := experiment.report.out) is not None:
            with source.blamed(("report", "out")):
                check_folder(out)
        subjects = dict(_subjects(source, experiment, measuring))
        understudies = {}
        for run, (place, subject) in subjects.items():
            with source.blamed(place):
                understudies[run] = Understudy.of(subject)
        laboratory = cls(source, experiment, measuring, subjects, understudies)
        laboratory.planned  # noqa: B018 (it checks)
        return laboratory

    @cached_property
    def jobs(self) -> list[tuple[Place, Step, str]]:
        """Every step with every run that it suits."""
        has_lambda = {run: it.model.facts.has_lambda for run, it in self.understudies.items()}
        return [
            (place, fitting, run)
            for place, step in self.experiment.steps()
            for run in self.experiment.meant(step.runs)
            if (fitting := suited(step, run, has_lambda=has_lambda[run])) is not None
        ]

    @cached_property
    def planned(self) -> list[Planned]:
        """What is to be done."""
        trainings = []
        for run, (place, subject) in self.subjects.items():
            if place[0] == "train":
                lacking = isinstance(subject, PreparedTraining)
                passes = subject.passes if isinstance(subject, PreparedTraining) else 0
                trainings.append(
                    Planned(step="train", run=run, missing=int(lacking), stored=int(not lacking), passes=passes)
                )
        return trainings + rehearse(self.source, self.jobs, self.understudies)

    def carried_out(self) -> Outcome:
        """Does everything that is to be done, in order."""
        untrained = [run for run, it in self.understudies.items() if not it.trained_yet]
        total = len(untrained) + len(self.jobs) + (self.experiment.report is not None)
        counted = itertools.count(1)

        def say(words: str) -> None:
            self.measuring.note(f"[{next(counted)}/{total}] {words}")

        # Something of each, so that what is measured against expectation has a place.
        told = iter(parts(self.measuring.progress, [1 + it.passes for it in self.planned]))
        sessions: dict[str, Session] = {}
        for run, (place, subject) in self.subjects.items():
            progress = next(told) if place[0] == "train" else silent
            if isinstance(subject, PreparedTraining):
                say(f"train {subject.spec.name}: {run}")
                with self.source.blamed(place):
                    subject = _trained(subject, dataclasses.replace(self.measuring, progress=progress, note=quiet))
            test_images = self.understudies[run].test_images
            sessions[run] = dataclasses.replace(subject, test_images=test_images, measuring=self.measuring)
        records: dict[str, Record] = {}  # attacks measure the clean images again
        for place, step, run in self.jobs:
            say(f"{place[0]}: {run}")
            telling = dataclasses.replace(
                sessions[run], measuring=dataclasses.replace(self.measuring, progress=next(told))
            )
            with self.source.blamed(place):
                records |= {record.measurement.key: record for record in done(step, telling, sessions)}
        for session in sessions.values():
            if session.run.folder.exists():
                with written(session.run):
                    session.run.experiments.mkdir(exist_ok=True)
                    write_whole(session.run.experiments / self.source.path.name, self.source.text.encode())
                if session.run.store_path.exists():
                    keep_results(session.run)
        paths = None
        if (asked := self.experiment.report) is not None:
            say("report")
            with self.source.blamed(("report",)):
                paths = report(
                    [*sessions.values()],
                    folder=asked.out,
                    html=asked.html,
                    title=asked.title,
                    paper=asked.paper,
                    baseline=asked.baseline,
                    examples=asked.examples,
                    measuring=self.measuring,
                )
        return Outcome(sessions=sessions, records=[*records.values()], report=paths)


def _trained(training: PreparedTraining, how: Measuring) -> Session:
    """Trains, or resumes."""
    return dataclasses.replace(training, measuring=how).trained(resume=training.run.training_path.exists())


def _subjects(
    source: TomlFile, experiment: Experiment, measuring: Measuring
) -> Iterator[tuple[str, tuple[Place, Session | PreparedTraining]]]:
    """Yields the models by run; those to be trained come first."""
    its, device, images = experiment.data, experiment.device, None
    data = DataChoice(
        its.name,
        its.root,
        its.download,
        its.image_size,
        its.class_order,
        its.readers,
        classes=its.classes,
        answers=its.answers,
    )
    place: Place
    for number, table in enumerate(experiment.train):
        for request in table.requests:
            place = ("train", number)
            with source.blamed(place):
                training = PreparedTraining.of(request, data, device, measuring, images)
                images, run = training.images, training.run
                if not run.weights_path.exists():
                    yield run.name, (place, training)
                    continue
                session = open_session(run.name, data=data, device=device, measuring=measuring)
                training.check_made(session.trained)
                yield run.name, (place, session)
    for number, each in enumerate(experiment.model):
        place = ("model", number)
        with source.blamed(place):
            session = open_session(
                each.run,
                model=each.model,
                weights=each.weights,
                build=BuildChoice(options=each.model_option, mean=each.mean, std=each.std, output=each.output),
                data=data,
                device=device,
                measuring=measuring,
            )
            yield session.run.name, (place, session)
