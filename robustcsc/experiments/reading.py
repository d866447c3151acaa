"""From an experiment file to its tables: every mistake that can be seen without PyTorch is told with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import inspect
from msgspec.inspect import is_struct_type

from robustcsc import runs
from robustcsc.errors import ExperimentError, RobustCSCError, UnknownNameError, hint
from robustcsc.experiments.experiment import Experiment
from robustcsc.experiments.steps import Attack, Evaluate, RandomNoise, Sweep, Uap
from robustcsc.experiments.values import NameOrFile, Written
from robustcsc.measurements.policies import Blind, Fitted, parse_policy
from robustcsc.models.shipped import SHIPPED
from robustcsc.runs import Run
from robustcsc.toml_files import Place, TomlFile

T = TypeVar("T", bound=msgspec.Struct)


def read_experiment(path: Path) -> tuple[TomlFile, Experiment]:
    """Returns an experiment file as text and as tables; imports no PyTorch.

    Raises:
        ExperimentError: The file cannot be read, or something in it is unknown, missing, of the wrong type, or does not
            go together; the sentence has file, line and field.
    """
    source = _file(path)
    experiment = _Reader(source).table(Experiment, source.tables(), ())
    _check_runs(source, experiment)
    for place, step in experiment.steps():
        with source.blamed((*place, "runs")):
            _check_known(step.runs, (*experiment.runs, *(it.run for it in experiment.train)))
        if isinstance(step, Attack) and step.surrogate is not None:
            with source.blamed((*place, "from")):
                _check_run(step.surrogate, experiment)
        if not isinstance(step, Evaluate | Sweep | Attack | Uap | RandomNoise):
            continue
        for key, blind in _fits_asked(step):
            if not _fitted(experiment, step, blind=blind):
                added = [f'precision = "{step.precision}"'] if step.precision != "fp32" else []
                added += ['noise = "blind"'] if blind else []
                table = " with ".join(["[fit-lambda]", *([" and ".join(added)] if added else [])])
                needs = (
                    "the policy blind needs a blind lambda fit" if blind else "an adaptive lambda needs a lambda fit"
                )
                raise source.error((*place, key), f"{needs}: add the table {table}.")
    if experiment.report and experiment.report.baseline not in (None, "alexnet"):
        with source.blamed(("report", "baseline")):
            _check_run(str(experiment.report.baseline), experiment, "alexnet")
    return source, experiment


def _file(path: Path) -> TomlFile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExperimentError(
            f"{path} cannot be read ({error.strerror or error}): `robustcsc run --example` prints one."
        ) from error
    fields = msgspec.structs.fields(Experiment)
    return TomlFile.of(
        path, content, ExperimentError, [it.encode_name for it in fields if get_origin(it.type) is tuple]
    )


def example_text() -> str:
    """Returns an experiment file with comments, which runs in about a minute."""
    return files("robustcsc.experiments").joinpath("example.toml").read_text("utf-8")


def _check_runs(source: TomlFile, experiment: Experiment) -> None:
    """Refuses names of runs that occur twice, and models that are not there."""
    if not experiment.runs:
        raise source.error(("model",), "no model is named: add a table [train] or [model].")
    if experiment.train and experiment.data.name is None:
        raise source.error(("train", 0), "a training needs images: add a table [data] with a name, such as digits.")
    seen: set[str] = set()
    trained = [(("train", number), str(it.run)) for number, each in enumerate(experiment.train) for it in each.requests]
    given = [(("model", number), each.run) for number, each in enumerate(experiment.model)]
    for place, run in [*trained, *given]:
        if run in seen:
            raise source.error((*place, "run"), f"the run {run!r} is named already: choose another name.")
        seen.add(run)
    for number, each in enumerate(experiment.model):
        with source.blamed(("model", number, "run" if each.weights is None else "weights")):
            runs.meant(each.run, each.model, each.weights)


def _check_known(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise RobustCSCError(f"no table [train] or [model] has the run {name!r}: {hint(name, known)}")


def _check_run(name: str, experiment: Experiment, *others: str) -> None:
    """Refuses a run that is neither in the file nor there, nor one of the other names that may stand here."""
    known = {*others, *experiment.runs, *SHIPPED, *(it.name for it in runs.existing())}
    if name not in known:
        raise UnknownNameError("run", name, known)


def _fits_asked(step: Evaluate | Sweep | Attack | Uap | RandomNoise) -> Iterator[tuple[str, bool | None]]:
    """Yields the keys that ask for a lambda fit, and whether for a blind one; ``None`` if any will do."""
    if isinstance(step, Attack | Uap):
        if any(it.needs_fit for it in step.protocols):
            yield "protocols", None
        return
    for policy in (parse_policy(it) for it in step.lambdas if it != "grid"):
        if isinstance(policy, Fitted):
            yield "lambda", isinstance(policy, Blind)


def _fitted(experiment: Experiment, step: Evaluate | Sweep | Attack | Uap | RandomNoise, *, blind: bool | None) -> bool:
    """Whether a run of a step has such a fit, or will have one. Which of the others have a lambda is seen later."""
    meant = experiment.meant(step.runs)
    fits = [each for each in experiment.fit_lambda if each.precision == step.precision]
    noises = {noise for each in fits if {*meant} & {*experiment.meant(each.runs)} for noise in each.noise}
    noises |= {noise for run in meant for noise in Run(runs.RUNS / run).fit_paths(step.precision)}
    return any(blind in (None, noise == "blind") for noise in noises)


@dataclass(frozen=True)
class _Reader:
    """Makes tables of what a file says."""

    source: TomlFile

    def table(self, kind: type[T], said: object, place: Place) -> T:
        """Returns a table of some kind."""
        if not isinstance(said, dict):
            raise self.source.error(place, f"write it as a table, like [{place[0]}].")
        fields = {it.encode_name: it for it in msgspec.structs.fields(kind)}
        for key in said:
            if key not in fields:
                raise self.source.error((*place, key), f"there is no such key: {hint(key, [*fields])}")
        for name, it in fields.items():
            if it.required and name not in said:
                raise self.source.error(place, f"the key {name!r} is missing.")
        values = {fields[key].name: self.value(fields[key].type, value, (*place, key)) for key, value in said.items()}
        with self.source.blamed((*place, *_blamed(kind, values, fields))):
            return kind(**values)

    def value(self, kind: Any, said: Any, place: Place) -> Any:
        """Returns the value of a field; one value stands for a list of one."""
        members = (
            [it for it in get_args(kind) if it is not NoneType] if get_origin(kind) in (Union, UnionType) else [kind]
        )
        if len(members) > 1:
            return self.plain(kind, said, place)
        (kind,) = members
        written = next((it for it in get_args(kind)[1:] if isinstance(it, Written)), None)
        if written is not None:
            with self.source.blamed(place):
                return written.read(self.value(written.kind, said, place))
        if get_origin(kind) is tuple:
            listed = said if isinstance(said, list) else [said]
            return tuple(self.value(get_args(kind)[0], it, (*place, number)) for number, it in enumerate(listed))
        if NameOrFile() in get_args(kind)[1:]:
            text = self.plain(str, said, place)
            return str(self.source.beside(text)) if text.endswith(".toml") else text
        if kind is Path:
            return self.source.beside(self.plain(str, said, place))
        return self.table(kind, said, place) if is_struct_type(kind) else self.plain(kind, said, place)

    def plain(self, kind: Any, said: Any, place: Place) -> Any:
        """Returns a value of a type that TOML has."""
        try:
            return msgspec.convert(said, kind)
        except msgspec.ValidationError as error:
            wanted = inspect.type_info(kind)
            if isinstance(wanted, inspect.LiteralType) and isinstance(said, str):
                sentence = f"unknown word {said!r}: {hint(said, [*map(str, wanted.values)])}"
            else:
                sentence = f"{said!r} is not {_type_words(wanted)}."
            raise self.source.error(place, sentence) from error


def _blamed(
    kind: type[msgspec.Struct], values: Mapping[str, Any], fields: Mapping[str, msgspec.structs.FieldInfo]
) -> list[str]:
    """Returns the last key without which a table that cannot be made could be; empty if there is none."""
    keys = ["", *[key for key, it in fields.items() if it.name in values and not it.required][::-1]]
    for key in keys:
        try:
            kind(**{name: value for name, value in values.items() if not key or name != fields[key].name})
        except RobustCSCError:
            continue
        return [key] if key else []
    return []


def _type_words(kind: inspect.Type) -> str:
    """Returns what a value has to be."""
    match kind:
        case inspect.UnionType():
            return " or ".join(_type_words(it) for it in kind.types if not isinstance(it, inspect.NoneType))
        case inspect.IntType() | inspect.FloatType():
            name = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
            bounds = [f"at least {kind.ge}"] * (kind.ge is not None) + [f"at most {kind.le}"] * (kind.le is not None)
            return " ".join([name, *(["of"] if bounds else []), " and ".join(bounds)]).strip()
        case inspect.LiteralType():
            return " or ".join(f'"{value}"' for value in kind.values)
        case inspect.BoolType():
            return "true or false"
        case inspect.DictType():
            return "a table, like {key = value}"
        case _:
            return "text in quotes"
