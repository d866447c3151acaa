"""Records as flat rows of plain values, for data frames and CSV files, and back."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from robustcsc.errors import StoreError
from robustcsc.measurements.facts import Fact, from_plain, tag_of, to_json, to_plain
from robustcsc.measurements.perturbations import Perturbation
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.records import Images, Location, Measurement, Provenance, Record, Subject
from robustcsc.measurements.statistics import wilson_interval

if TYPE_CHECKING:
    import pandas as pd

#: Names of columns that differ from the path of their field in `Record`.
_NAMES = {
    "measurement.subject.run": "run",
    "measurement.subject.model": "model",
    "measurement.subject.weights": "weights",
    "measurement.images.dataset": "dataset",
    "measurement.images.split": "split",
    "measurement.images.fingerprint": "images",
    "measurement.images.count": "image_count",
    "measurement.perturbation.type": "kind",
    "measurement.perturbation.threat.norm": "norm",
    "measurement.perturbation.threat.epsilon": "epsilon",
    "measurement.policy.type": "policy",
    "outcomes.packed": "outcomes",
    "outcomes.count": "outcome_count",
    "lam": "lambda",
}
_PATHS = {name: path for path, name in _NAMES.items()}
#: The columns that come first, and that an empty frame has.
_FIRST = (
    *("run", "model", "weights", "dataset", "split", "images", "image_count", "kind", "name", "severity"),
    *("norm", "epsilon", "protocol", "steps", "seed", "policy", "policy.value", "policy.scope", "policy.fit"),
    *("metric", "correct", "total", "accuracy", "low", "high", "lambda"),
)
#: Facts that are the same in many records.
_SHARED = frozenset((Subject, Images, Location, *get_args(Perturbation), *get_args(Policy)))
#: Columns that follow from others.
DERIVED = ("accuracy", "low", "high")
#: Columns that say when and how long: the only ones in which two runs of one command differ.
TIMING = ("seconds", "created")


def flat(record: Record) -> dict[str, object]:
    """Returns a record as one row: numbers, text and ``True`` or ``False``, one fact a column.

    Attacks of several steps and lists of lambdas are JSON. `accuracy` is the share of images that met the metric, `low`
    and `high` end its 95 % Wilson interval.
    """
    row: dict[str, object] = {}
    _flatten(record, "", row)
    if not record.total:  # no image was classified as labelled, whose predictions could change
        return row
    low, high = wilson_interval(record.correct, record.total)
    return {**row, "accuracy": record.correct / record.total, "low": low, "high": high}


def _flatten(fact: Fact, path: str, row: dict[str, object]) -> None:
    if tag_of(fact):
        row[_column(f"{path}type")] = tag_of(fact)
    for name, whole, column in _fields(type(fact), path):
        value = getattr(fact, name)
        kind = type(value)
        if kind in _SHARED:
            row.update(_shared(value, f"{whole}."))
        elif value is None or value == "":
            continue
        elif kind in (int, float, str, bool):
            row[column] = value
        elif isinstance(value, Fact):
            _flatten(value, f"{whole}.", row)
        elif isinstance(value, dict):
            row.update({_column(f"{whole}.{key}"): entry for key, entry in value.items()})
        else:
            row[column] = to_json(value).decode() if isinstance(value, tuple) else to_plain(value)


@cache
def _fields(kind: type[Fact], path: str) -> tuple[tuple[str, str, str], ...]:
    """Returns name, path and column of each field of a fact."""
    return tuple((name, f"{path}{name}", _column(f"{path}{name}")) for name in kind.__struct_fields__)


@lru_cache(maxsize=2**12)
def _shared(fact: Fact, path: str) -> dict[str, object]:
    """Returns the columns of a fact that many records share, made once."""
    row: dict[str, object] = {}
    _flatten(fact, path, row)
    return row


@cache
def _column(path: str) -> str:
    """Returns the name of a column: the path of its field, without the facts it is part of where that is clear."""
    if path in _NAMES:
        return _NAMES[path]
    for part in ("measurement.perturbation.", "measurement.", "provenance."):
        path = path.removeprefix(part)
    return path


def _path(column: str) -> str:
    """Returns the path of the field that a column holds."""
    if column in _PATHS:
        return _PATHS[column]
    first = column.partition(".")[0]
    if first in Record.__struct_fields__:
        return column
    parts = {"measurement": Measurement, "provenance": Provenance}
    part = next((name for name, kind in parts.items() if first in kind.__struct_fields__), "measurement.perturbation")
    return f"{part}.{column}"


def records_frame(records: Iterable[Record], *, timing: bool = True) -> pd.DataFrame:
    """Returns one row per record as `flat` makes it, without columns that no record fills.

    Args:
        records: What was measured.
        timing: Whether to keep the columns `TIMING`.
    """
    import pandas as pd

    rows = [flat(record) for record in records]
    columns = dict.fromkeys((*_FIRST, *(name for row in rows for name in row)))
    kept = [name for name in columns if timing or name not in TIMING]
    values = {name: [row.get(name) for row in rows] for name in kept}
    frame = pd.DataFrame(values)
    whole = [name for name, column in values.items() if {type(each) for each in column} <= {int, type(None)}]
    filled = [name for name, column in values.items() if name in DERIVED or any(each is not None for each in column)]
    return frame.astype(dict.fromkeys(whole, "Int64"))[filled if rows else list(_FIRST)]


def read_records(path: Path) -> list[Record]:
    """Returns the records in a CSV file that `records_frame` made.

    Raises:
        StoreError: The file cannot be read, or is no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_record(row) for row in csv.DictReader(file)]
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError) as error:
        raise StoreError(f"{path} is no CSV file of records ({error}).") from error


def _record(row: Mapping[str, str]) -> Record:
    plain: dict[str, Any] = {}
    for column, cell in row.items():
        if cell and column not in DERIVED:
            *parents, name = _path(column).split(".")
            place = plain
            for parent in parents:
                place = place.setdefault(parent, {})
            place[name] = json.loads(cell) if cell.startswith("[") else cell
    return from_plain(plain, Record, strict=False)
