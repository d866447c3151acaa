from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.measurements.records import Record
from robustcsc.reports.page.compare import comparisons

RecordMaker = Callable[..., Record]

RIGHT = {"sdnet": [True, True, False, True], "resnet": [True, False, False, False]}


def only(records: list[Record]) -> dict[str, Any]:
    (found,) = comparisons(records)
    return found


def test_a_difference_is_that_of_the_same_images(clean: RecordMaker, corruption: RecordMaker) -> None:
    made = [corruption("fog", severity, outcomes=of, run=run) for run, of in RIGHT.items() for severity in (1, 2)]
    found = only([*made, *(clean(outcomes=of, run=run) for run, of in RIGHT.items())])
    assert found["rows"] == ["resnet, no lambda", "sdnet, no lambda"]
    assert [it["words"] for it in found["conditions"]] == ["clean", "fog"]
    for condition in found["conditions"]:
        assert [accuracy[0] for accuracy in condition["accuracies"]] == [25, 75]
        assert list(condition["differences"]) == ["0-1"]
        assert condition["differences"]["0-1"][0] == -50
    # Of 4 images 2 differ, both against the first: after Agresti & Min, -2 / 6 -+ 1.96 sqrt(2 + 1 - 4 / 6) / 6
    assert found["conditions"][0]["differences"]["0-1"][1:] == pytest.approx([-83.23, 16.57], abs=0.01)


def test_a_mean_that_lacks_a_severity_is_not_compared(corruption: RecordMaker) -> None:
    made = [corruption("fog", at, met=5, total=10, run=run) for run in ("a", "b") for at in (1, 2)]
    made += [corruption("snow", 1, met=5, total=10, run=run) for run in ("a", "b")]
    made.append(corruption("snow", 2, met=5, total=10, run="a"))
    assert [it["words"] for it in only(made)["conditions"]] == ["fog"]


def test_the_page_begins_with_the_policy_that_adapts_most_and_another_model(corruption: RecordMaker) -> None:
    made = [corruption(met=5, total=10, run="sdnet", policy=policy) for policy in ("train", "adaptive", "oracle")]
    made.append(corruption(met=5, total=10, run="resnet"))
    found = only(made)
    assert [found["rows"][at] for at in found["chosen"]] == ["sdnet, adaptive lambda", "resnet, no lambda"]


def test_one_row_is_compared_with_nothing(corruption: RecordMaker) -> None:
    assert comparisons([corruption(met=5, total=10)]) == comparisons([]) == []
