"""Reading the CSV files of records, to see that nothing in them is lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import msgspec

from robustcsc.files import no_formula
from robustcsc.measurements.frames import DERIVED, NAMES
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Measurement, Record

PATHS = {name: path for path, name in NAMES.items()} | {"policy": "measurement.policy.type"}
LISTS = ("steps", "step.settings", "policy.values")
PARTS = {"measurement": Measurement, "provenance": Provenance}


def read_records(path: Path) -> list[Record]:
    """Returns the records in a CSV file that `records_frame` made."""
    with path.open(newline="", encoding="utf-8") as file:
        return [record_of(row) for row in csv.DictReader(file)]


def record_of(row: dict[str, str]) -> Record:
    plain: dict[str, Any] = {}
    for column, cell in row.items():
        if cell and column not in DERIVED:
            *parents, name = path_of(column).split(".")
            place = plain
            for parent in parents:
                place = place.setdefault(parent, {})
            text = cell[1:] if cell[:1] == "'" and no_formula(cell[1:]) == cell else cell
            place[name] = (
                json.loads(text) if column in LISTS or (cell.startswith("[") and column == "policy.value") else text
            )
    policy = plain["measurement"]["policy"]
    if "by" in policy:
        plain["measurement"]["policy"] = {"type": "adapted", "by": policy.pop("by"), "policy": policy}
    return msgspec.convert(plain, Record, strict=False)


def path_of(column: str) -> str:
    """Returns the path of the field that a column holds."""
    first = column.partition(".")[0]
    if column in PATHS or first in Record.__struct_fields__:
        return PATHS.get(column, column)
    if first == "test_time":
        return column.replace("test_time", "measurement.policy.by")
    part = next((name for name, kind in PARTS.items() if first in kind.__struct_fields__), "measurement.perturbation")
    return f"{part}.{column}"
