from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from robustcsc.errors import AttackError
from robustcsc.measurements.threats import (
    DEFAULT_EPSILON,
    DEFAULT_XI,
    NORMS,
    Norm,
    ThreatModel,
    check_budget,
    check_step_size,
    parse_epsilon,
    typed_epsilon,
)


@pytest.mark.parametrize("epsilon", [-0.1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm", NORMS)
def test_a_budget_that_is_no_length_is_refused(norm: Norm, epsilon: float) -> None:
    with pytest.raises(AttackError, match="epsilon must be a finite number of at least 0"):
        ThreatModel(norm, epsilon)


def test_a_budget_in_255ths_is_refused_with_the_likely_meaning() -> None:
    with pytest.raises(AttackError, match="did you mean 8/255"):
        ThreatModel("linf", 8)
    assert ThreatModel("l2", 8) == ThreatModel("l2", 8.0)  # an l2 distance may well be above 1


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(AttackError, match="Unknown norm 'l1': choose one of linf, l2"):
        ThreatModel("l1", 0.5)  # type: ignore[arg-type]


def test_default_budgets_are_those_of_the_paper() -> None:
    assert DEFAULT_EPSILON == {"linf": 8 / 255, "l2": 0.5}
    assert DEFAULT_XI["linf"] == 5e-2


@pytest.mark.parametrize(
    ("text", "epsilon"), [("8/255", 8 / 255), (" 8 / 255 ", 8 / 255), ("0.5", 0.5), ("0", 0.0), ("1e-3", 0.001)]
)
def test_budgets_are_read_as_typed(text: str, epsilon: float) -> None:
    assert parse_epsilon(text) == epsilon


@pytest.mark.parametrize("text", ["", "eight", "8/0", "8/255/2", "-1/255", "nan", "inf", "1e999", "/255", "8/", "0,5"])
def test_budgets_that_are_no_number_are_refused(text: str) -> None:
    with pytest.raises(AttackError, match="is no attack budget"):
        parse_epsilon(text)


@pytest.mark.parametrize(
    ("epsilon", "text"),
    [
        (8 / 255, "8/255"),
        (0.5 / 255, "0.5/255"),
        (1.0, "1"),
        (0.5, "0.5"),
        (0.0314, "0.0314"),
        (1 / 31, "0.03225806451612903"),
        (0.0, "0"),
    ],
)
def test_budgets_are_typed_in_the_shortest_way(epsilon: float, text: str) -> None:
    assert typed_epsilon(epsilon) == text


@example(8 / 255)
@example(math.nextafter(8 / 255, 1))
@example(1e6)
@example(5e-324)
@given(st.floats(0, allow_infinity=False) | st.integers(0, 1000).map(lambda levels: levels / 255))
def test_budgets_are_read_as_the_very_number_that_was_typed(epsilon: float) -> None:
    assert parse_epsilon(typed_epsilon(epsilon)) == epsilon


@pytest.mark.parametrize(
    ("step_size", "threat", "meant"),
    [
        (2, ThreatModel("linf", 8 / 255), "2/255"),
        (1, ThreatModel("linf", 8 / 255), "1/255"),
        (25.5, ThreatModel("l2", 0.5), "25.5/255"),
    ],
)
def test_a_step_in_255ths_is_refused_with_the_likely_meaning(step_size: float, threat: ThreatModel, meant: str) -> None:
    with pytest.raises(AttackError, match=f"Step sizes are in pixel units .*: did you mean {meant}"):
        check_step_size(step_size, threat)


@pytest.mark.parametrize(
    ("step_size", "threat"),
    [(None, ThreatModel("linf", 0.1)), (2 / 255, ThreatModel("linf", 0.5 / 255)), (1.5, ThreatModel("l2", 3.0))],
)
def test_a_step_that_may_be_meant_is_kept(step_size: float | None, threat: ThreatModel) -> None:
    check_step_size(step_size, threat)


def test_an_l2_budget_in_255ths_is_refused_with_the_likely_meaning() -> None:
    check_budget(ThreatModel("l2", 20))
    check_budget(ThreatModel("linf", 1))
    with pytest.raises(AttackError, match=r"Budgets in l2 are in pixel units .*: did you mean 128/255"):
        check_budget(ThreatModel("l2", 128))
