from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from robustcsc.records import MINIMAL, Record
from robustcsc.report.minimal import minimal_budgets, minimal_plots, minimal_tables

RecordMaker = Callable[..., Record]


def test_minimal_budgets_have_quartiles_and_a_curve(record: RecordMaker) -> None:
    levels = bytes([0, 1, 2, 4, 8, 16, 255, 255])
    details = json.dumps({"levels": 4, "minimal": base64.b64encode(levels).decode()})
    condition = {"kind": MINIMAL, "name": "pgd", "norm": "linf", "epsilon": 0.16, "protocol": "adaptive"}
    found = replace(record(correct=2, total=8, policy="adaptive-image", **condition), details=details)
    budgets = minimal_budgets(found)
    assert budgets[:6] == pytest.approx([0, 0.01, 0.02, 0.04, 0.08, 0.16]) and budgets[6:] == [math.inf] * 2
    (table,) = minimal_tables([found])
    assert table.rows[0][4:7] == ("0.01", "0.04", "0.16")
    assert table.rows[0][-1].startswith("25.00")
    (plot,) = minimal_plots([found])
    ax = plot.figure.axes[0]
    line: Any = ax.lines[0]
    curve = {round(100 * float(x), 6): float(y) for x, y in zip(*line.get_data(), strict=True)}
    assert (curve[0], curve[1], curve[16]) == (87.5, 75.0, 25.0)
