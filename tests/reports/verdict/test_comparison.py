"""Runs compared on what all of them were measured on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.errors import StoreError
from robustcsc.measurements.records import Record
from robustcsc.reports.verdict.comparison import comparison

RecordMaker = Callable[..., Record]
A: dict[str, Any] = {"run": "a", "weights": "aa" * 32}
B: dict[str, Any] = {"run": "b", "weights": "bb" * 32}
C: dict[str, Any] = {"run": "c", "weights": "cc" * 32}
RIGHT = [True] * 80 + [False] * 20
FEWER = [True] * 60 + [False] * 40


def test_only_what_all_runs_were_measured_on_counts(corruption: RecordMaker, clean: RecordMaker) -> None:
    found = comparison(
        {
            "a": [corruption("fog", 1, outcomes=RIGHT, **A), corruption("fog", 2, outcomes=FEWER, **A)],
            "b": [corruption("fog", 1, outcomes=FEWER, **B), clean(outcomes=RIGHT, **B)],
        }
    )
    # 20 images differ: (20 -+ 1.96 sqrt(21 - 400 / 102)) / 102
    assert str(found) == "Under fog the accuracy of a is 20.0 points higher than that of b ([11.7, 27.5], p < 0.001)."
    (table,) = found.tables
    assert [column.heading for column in table.columns] == ["model", "fog"]
    (told,) = found.told()
    differences: Any = told["differences"]
    (difference,) = differences
    assert difference["first"] == {"runs": ["a"], "policy": "none"}
    assert (difference["points"], difference["images"]) == (20.0, "fog")


def test_of_more_than_the_sentences_name_there_is_a_table(corruption: RecordMaker) -> None:
    runs = {
        name: [corruption("fog", outcomes=[at < right for at in range(100)], run=name, weights=name * 64)]
        for name, right in (("a", 90), ("b", 70), ("c", 50), ("d", 30))
    }
    found = comparison(runs)
    assert "1 more are further behind" not in found.sentences[0] and "1 more is further behind" in found.sentences[0]
    _, table = found.tables
    assert [row[:3] for row in table.rows] == [("a", other, "fog") for other in "bcd"]


def test_attacks_of_one_budget_are_compared_whatever_the_attacks_were(attack: RecordMaker) -> None:
    found = comparison(
        {
            "a": [attack("pgd", outcomes=RIGHT, **A), attack("fgsm", outcomes=RIGHT, **A)],
            "b": [attack("apgd", outcomes=FEWER, **B)],
        }
    )
    assert "worst of 2 attacks" in str(found) and "20.0 points higher than that of b" in str(found)


def test_runs_that_share_no_images_are_refused(clean: RecordMaker) -> None:
    with pytest.raises(StoreError, match="The runs a and b were not measured on the same images: measure each with"):
        comparison({"a": [clean(outcomes=RIGHT, **A)], "b": [clean(outcomes=RIGHT, images="feed" * 4, **B)]})


def test_runs_without_outcomes_are_refused(clean: RecordMaker) -> None:
    with pytest.raises(StoreError, match=r"was not kept, so they cannot be compared image by image: .*--remeasure"):
        comparison({"a": [clean(outcomes=RIGHT, **A)], "b": [clean(met=60, total=100, **B)]})
