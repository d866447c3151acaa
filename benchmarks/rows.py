"""What the rows of benchmarks have in common: the machine they were measured on, and how they become files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from robustcsc.evaluation.models import device_words

RESULTS = Path(__file__).parent / "results"


def machine(device: torch.device) -> dict[str, object]:
    """Returns the columns that say where a row was measured."""
    return {"device": device_words(device), "torch": torch.__version__, "threads": torch.get_num_threads()}


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], fields: Iterable[str] = ()) -> None:
    """Writes rows to a file, whose folder is made if it does not exist.

    Args:
        path: The file.
        rows: What it holds.
        fields: Columns in their order; those of the first row if there are none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, tuple(fields) or tuple(rows[0]), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
