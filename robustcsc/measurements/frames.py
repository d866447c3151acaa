"""Records as flat rows of plain values, for JSON, data frames and CSV files."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from robustcsc.files import no_formula
from robustcsc.measurements.facts import Fact, tag_of, to_json, to_plain
from robustcsc.measurements.records import Record
from robustcsc.measurements.statistics import wilson_interval

if TYPE_CHECKING:
    import pandas as pd

#: The different values of a column, ``None`` for a fact that a record does not have, and for each record the place of
#: its value among them.
Factor = tuple[list[Any], "array[int]"]

#: Names of columns that differ from the path of their field in `Record`.
NAMES = {
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
    "measurement.policy.policy.type": "policy",
    "measurement.policy.by.type": "test_time",
    "outcomes.packed": "outcomes",
    "outcomes.count": "outcome_count",
    "lam": "lambda",
}
#: What stands for the facts that a field is part of.
_PARTS = {
    "measurement.perturbation.": "",
    "measurement.policy.policy.": "policy.",
    "measurement.policy.by.": "test_time.",
    "measurement.": "",
    "provenance.": "",
}
#: The columns that come first, and that an empty frame has.
_FIRST = (
    *("run", "model", "weights", "dataset", "split", "images", "image_count", "kind", "name", "severity"),
    *("norm", "epsilon", "protocol", "steps", "seed", "policy", "policy.value", "policy.scope", "policy.fit"),
    *("metric", "met", "total", "rate", "low", "high", "lambda"),
)
#: Columns that follow from others.
DERIVED = ("rate", "low", "high")
#: Columns that say when and how long: the only ones in which two runs of one command differ.
TIMING = ("seconds", "created")


def flat(record: Record) -> dict[str, Any]:
    """Returns a record as one row for JSON: numbers, text and ``True`` or ``False``, one fact a column.

    Steps of attacks and several lambdas are tuples. `rate` is the share of images that met the metric, `low`
    and `high` end its 95 % Wilson interval; none of them is there without images.
    """
    parts = (_fields(name, getattr(record, name)) for name in record.__struct_fields__)
    return dict(chain(*parts, _shares((record.met, record.total))))


def _fields(path: str, value: object) -> Iterator[tuple[str, Any]]:
    """Yields the columns that a fact fills, and what stands in them."""
    if isinstance(value, Fact):
        if tag_of(value):
            yield _column(f"{path}.type"), tag_of(value)
        for name in value.__struct_fields__:
            yield from _fields(f"{path}.{name}", getattr(value, name))
    elif isinstance(value, dict):
        yield from ((_column(f"{path}.{key}"), entry) for key, entry in value.items())
    elif value not in (None, "", ()):
        yield _column(path), to_plain(value)


def _shares(counts: tuple[int, int]) -> Iterator[tuple[str, float]]:
    met, total = counts
    if total:
        yield from zip(DERIVED, (met / total, *wilson_interval(met, total)), strict=True)


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
                found |= _factors(list(map(attrgetter(name), facts)), partial(_fields, f"{path}{name}"))
    found |= _factors([(record.met, record.total) for record in records], _shares) if records else {}
    left_out = () if timing else TIMING
    return {name: found[name] for name in dict.fromkeys((*_FIRST, *found)) if name in found and name not in left_out}


def _factors(values: Sequence[Any], fields: Callable[[Any], Iterable[tuple[str, Any]]]) -> dict[str, Factor]:
    """Returns the columns that one fact of each record fills; tuples are JSON text."""
    keys: Sequence[Any] = values
    if isinstance(values[0], dict):  # many records have the very same one
        texts = {at: tuple(it.items()) for at, it in zip(map(id, values), values, strict=True)}
        keys = list(map(texts.__getitem__, map(id, values)))
    different = dict(zip(keys, values, strict=True))
    places = {key: place for place, key in enumerate(different)}
    codes = array("I", map(places.__getitem__, keys)) if len(different) > 1 else array("I", bytes(4 * len(keys)))
    rows = [dict(fields(value)) for value in different.values()]
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [to_json(it).decode() if isinstance(it, tuple) else it for it in (row.get(name) for row in rows)]
        levels: dict[tuple[type, Any], int] = {}  # 1, 1.0 and True are equal
        level = [levels.setdefault((type(cell), cell), len(levels)) for cell in cells]
        apart = len(levels) == len(rows)  # then a column has the codes of the fact
        found[name] = ([value for _, value in levels], codes if apart else array("I", map(level.__getitem__, codes)))
    return found


@cache
def _column(path: str) -> str:
    """Returns the name of a column: the path of its field, without the facts it is part of where that is clear."""
    if path in NAMES:
        return NAMES[path]
    for part, name in _PARTS.items():
        path = name + path.removeprefix(part) if path.startswith(part) else path
    return path


def records_frame(records: Sequence[Record], *, timing: bool = True) -> pd.DataFrame:
    """Returns one row per record as `flat` makes it, tuples as JSON text, without columns that no record fills.

    Args:
        records: What was measured.
        timing: Whether to keep the columns `TIMING`.
    """
    import numpy as np
    import pandas as pd

    columns = {}
    for name, (values, codes) in factors(records, timing=timing).items():
        whole = {type(value) for value in values} <= {int, type(None)}
        columns[name] = pd.Series(values, dtype="Int64" if whole else None).array.take(np.array(codes, dtype=np.intp))
    return pd.DataFrame(columns) if records else pd.DataFrame(columns=list(_FIRST))


def records_csv(records: Sequence[Record], *, timing: bool = True) -> str:
    """Returns what ``records_frame(...).to_csv(index=False)`` does, with no formulas, and without the slow pandas.

    Args:
        records: What was measured.
        timing: Whether to keep the columns `TIMING`.
    """
    columns = {
        name: list(map(_texts(values).__getitem__, codes))
        for name, (values, codes) in (factors(records, timing=timing) if records else {}).items()
    }
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns or _FIRST)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue()


def _texts(values: Sequence[Any]) -> list[str]:
    """Returns the cells of a column: a whole number is written with a point where others of the column have one."""
    kinds = {type(value) for value in values}
    floats = float in kinds and kinds <= {int, float, type(None)}
    return ["" if it is None or it != it else no_formula(str(float(it) if floats else it)) for it in values]
