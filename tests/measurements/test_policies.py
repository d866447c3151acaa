from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.measurements.facts import replace
from robustcsc.measurements.policies import (
    Adaptive,
    Blind,
    Fitted,
    FixedLambda,
    NoLambda,
    Oracle,
    Policy,
    Scope,
    TrainingLambda,
    WorstOf,
    lambda_of,
    multiples_of,
    parse_policy,
    typed_policy,
)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("train", TrainingLambda()),
        ("oracle", Oracle()),
        ("adaptive", Adaptive(scope=Scope.DATASET)),
        ("adaptive-batch", Adaptive(scope=Scope.BATCH)),
        ("adaptive-image", Adaptive(scope=Scope.IMAGE)),
        ("blind", Blind()),
        ("fixed=0", FixedLambda(0.0)),
        ("fixed=1.25", FixedLambda(1.25)),
        ("fixed=0.50", FixedLambda(0.5)),
        ("fixed=0.3, 1", FixedLambda((0.3, 1.0))),
    ],
)
def test_policies_are_read_as_typed(text: str, policy: Policy) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    "text", ["fixed=", "fixed=x", "fixed=-0.1", "fixed=nan", "fixed=inf", "fixed=0.1,", "fixed=0.1,-1"]
)
def test_a_fixed_lambda_is_a_number_of_at_least_zero(text: str) -> None:
    with pytest.raises(PolicyError, match=r"write .*fixed=0\.5"):
        parse_policy(text)


def test_unknown_policies_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="adaptive-image"):
        parse_policy("adaptve-image")
    for text in ("none", "worst", "", "grid"):
        with pytest.raises(UnknownNameError):
            parse_policy(text)


@settings(max_examples=200)
@given(data=st.data())
def test_policies_are_read_as_those_that_were_typed(data: st.DataObject, policies: st.SearchStrategy[Policy]) -> None:
    asked = data.draw(policies)
    typed, policy = typed_policy(asked), lambda_of(asked)
    assert (typed == "") == isinstance(policy, NoLambda | WorstOf)
    if typed:
        fitted = replace(policy, fit="") if isinstance(policy, Fitted) else policy
        assert parse_policy(typed) == fitted


def test_the_default_grid_is_that_of_the_paper() -> None:
    # Section 4.2: 0.1 to 1.5 in steps of 0.1, for a network trained with 0.1.
    grid = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
    assert multiples_of(0.1) == multiples_of(None) == grid
    assert multiples_of(0.0) == (0.0, *grid[:-1])  # what was trained is always tried
    assert multiples_of(0.25, (1, 5, 10)) == (0.25, 1.25, 2.5)
