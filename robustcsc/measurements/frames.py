"""Records as flat rows of plain values, for data frames and CSV files, and back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from robustcsc.errors import StoreError
from robustcsc.measurements.facts import Fact, from_plain, tag_of, to_json, to_plain
from robustcsc.measurements.records import Measurement, Provenance, Record
from robustcsc.measurements.statistics import wilson_interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: What one field of a row holds.
Plain = str | bool | int | float | None

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
#: Columns that hold JSON.
_LISTS = ("steps", "step.settings", "policy.values")
#: Columns that follow from others.
DERIVED = ("accuracy", "low", "high")
#: Columns that say when and how long: the only ones in which two runs of one command differ.
TIMING = ("seconds", "created")


class Factor(NamedTuple):
    """A column of many rows, each different value kept once.

    Attributes:
        values: The different values; ``None`` for a fact that a record does not have.
        codes: For each row, the place of its value in `values`.
    """

    values: list[Plain]
    codes: NDArray[np.intp]


def flat(record: Record) -> dict[str, Plain]:
    """Returns a record as one row: numbers, text and ``True`` or ``False``, one fact a column.

    Attacks of several steps and lists of lambdas are JSON. `accuracy` is the share of images that met the metric, `low`
    and `high` end its 95 % Wilson interval; none of them is there without images.
    """
    row: dict[str, Plain] = {}
    for name in record.__struct_fields__:
        _flatten(getattr(record, name), name, row)
    return row | _shares(record.correct, record.total)


def _flatten(value: object, path: str, row: dict[str, Plain]) -> None:
    if isinstance(value, Fact):
        if tag_of(value):
            row[_column(f"{path}.type")] = tag_of(value)
        for name in value.__struct_fields__:
            _flatten(getattr(value, name), f"{path}.{name}", row)
    elif isinstance(value, dict):
        row.update({_column(f"{path}.{key}"): entry for key, entry in value.items()})
    elif isinstance(value, tuple):
        row[_column(path)] = to_json(value).decode()
    elif value not in (None, ""):
        row[_column(path)] = to_plain(value)


def _shares(correct: int, total: int) -> dict[str, Plain]:
    return dict(zip(DERIVED, (correct / total, *wilson_interval(correct, total)), strict=True)) if total else {}


def factors(records: Sequence[Record], *, timing: bool = True) -> dict[str, Factor]:
    """Returns the columns of `records_frame`: facts that many records share are flattened once."""
    found: dict[str, Factor] = {}
    parts: dict[str, Sequence[Fact]] = {
        "measurement.": [record.measurement for record in records],
        "": records,
        "provenance.": [record.provenance for record in records],
    }
    for path, facts in parts.items():
        for name in facts[0].__struct_fields__ if facts else ():
            if f"{path}{name}." not in parts:
                values = [getattr(fact, name) for fact in facts]
                found |= _factors(values, partial(_row, f"{path}{name}"))
    found |= _factors([(record.correct, record.total) for record in records], lambda counts: _shares(*counts))
    return {name: found[name] for name in dict.fromkeys((*_FIRST, *found)) if name in found and _kept(name, timing)}


def _row(path: str, value: object) -> dict[str, Plain]:
    row: dict[str, Plain] = {}
    _flatten(value, path, row)
    return row


def _kept(name: str, timing: bool) -> bool:
    return timing or name not in TIMING


def _factors(values: Sequence[Any], flattened: Callable[[Any], dict[str, Plain]]) -> dict[str, Factor]:
    """Returns the columns that one fact of each record fills."""
    import numpy as np

    keys = [tuple(value.items()) if isinstance(value, dict) else value for value in values]
    places: dict[object, int] = {}
    codes = np.array([places.setdefault(key, len(places)) for key in keys], dtype=np.intp)
    different = dict(zip(codes.tolist(), values, strict=True))
    rows = [flattened(different[code]) for code in range(len(places))]
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        levels: dict[tuple[type, Plain], int] = {}  # 1, 1.0 and True are equal
        level = [levels.setdefault((type(row.get(name)), row.get(name)), len(levels)) for row in rows]
        found[name] = Factor([value for _, value in levels], np.array(level, dtype=np.intp)[codes])
    return found


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


def records_frame(records: Sequence[Record], *, timing: bool = True) -> pd.DataFrame:
    """Returns one row per record as `flat` makes it, without columns that no record fills.

    Args:
        records: What was measured.
        timing: Whether to keep the columns `TIMING`.
    """
    import pandas as pd

    columns = {}
    for name, it in factors(records, timing=timing).items():
        whole = {type(value) for value in it.values} <= {int, type(None)}
        columns[name] = pd.Series(it.values, dtype="Int64" if whole else None).array.take(it.codes)
    return pd.DataFrame(columns) if records else pd.DataFrame(columns=list(_FIRST))


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
    except (ValueError, TypeError, AttributeError, csv.Error) as error:  # of the reader, JSON, and columns that clash
        raise StoreError(f"{path} is no CSV file of records ({error}).") from error


def _record(row: Mapping[str, str]) -> Record:
    plain: dict[str, Any] = {}
    for column, cell in row.items():
        if cell and column not in DERIVED:
            *parents, name = _path(column).split(".")
            place = plain
            for parent in parents:
                place = place.setdefault(parent, {})
            place[name] = json.loads(cell) if column in _LISTS else cell
    return from_plain(plain, Record, strict=False)
