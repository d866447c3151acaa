from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcsc.errors import AttackError, UnknownNameError
from robustcsc.measurements.attacks import ATTACKS, AttackStep, parse_step, typed_step


def test_settings_that_are_not_named_have_their_defaults() -> None:
    pgd = AttackStep.of("pgd")
    assert dict(pgd.settings) == {"steps": 20, "loss": "ce"}  # the step size depends on the budget
    assert pgd == AttackStep.of("pgd", steps=20) == parse_step("pgd") == parse_step("pgd:steps=20:restarts=1")
    quick = AttackStep.of("pgd", steps=5, step_size=1, loss="dlr", restarts=2)
    assert quick.changed == {"steps": 5, "step_size": 1.0, "loss": "dlr"}
    assert AttackStep.of("cw", rate=1) == AttackStep.of("cw", rate=1.0)
    assert (quick.effort, AttackStep.of("square").effort, AttackStep.of("fgsm").effort) == (5, 5000, None)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("fgsm", AttackStep.of("fgsm")),
        ("pgd:steps=40:restarts=5", AttackStep.of("pgd", steps=40, restarts=5)),
        ("pgd:step-size=2/255:loss=dlr", AttackStep.of("pgd", step_size=2 / 255, loss="dlr")),
        ("square:queries=10", AttackStep.of("square", queries=10)),
        ("cw:rate=0.1:searches=3", AttackStep.of("cw", rate=0.1, searches=3)),
    ],
)
def test_attacks_are_read_as_typed(text: str, step: AttackStep) -> None:
    assert parse_step(text) == step


@settings(max_examples=200)
@given(data=st.data())
def test_attacks_are_read_as_those_that_were_typed(data: st.DataObject, steps: st.SearchStrategy[AttackStep]) -> None:
    step = data.draw(steps)
    assert parse_step(typed_step(step)) == step


def test_what_differs_from_the_defaults_is_typed() -> None:
    assert typed_step(AttackStep.of("pgd")) == "pgd"
    assert typed_step(AttackStep.of("pgd", steps=40, restarts=5)) == "pgd:steps=40:restarts=5"


def test_what_makes_no_sense_is_refused() -> None:
    for text in ("appgd", "appgd:steps=1"):
        with pytest.raises(UnknownNameError, match="did you mean 'apgd'"):
            parse_step(text)
    with pytest.raises(UnknownNameError, match="did you mean 'apgd'"):
        AttackStep(name="appgd")
    with pytest.raises(AttackError, match="The attack square has no setting 'steps': choose one of queries, restarts"):
        AttackStep.of("square", steps=3)
    with pytest.raises(AttackError, match="The attack pgd has no setting 'step': did you mean 'steps'"):
        parse_step("pgd:step=40")
    with pytest.raises(AttackError, match="The attack fgsm has no setting 'steps': it has none"):
        parse_step("fgsm:steps=x")
    with pytest.raises(AttackError, match="Restarts of cw would all be the same"):
        AttackStep.of("cw", restarts=2)
    for text in ("pgd:steps", "pgd:steps=2.5", "pgd:step-size=far", "pgd:restarts=x", "cw:rate=nan"):
        with pytest.raises(AttackError, match=r"of the attack (pgd|cw) is no number"):
            parse_step(text)
    for text in ("pgd:steps=0", "pgd:step-size=0/255", "pgd:restarts=0"):
        with pytest.raises(AttackError, match="must be above 0"):
            parse_step(text)


def test_attacks_refuse_norms_that_they_do_not_support() -> None:
    AttackStep.of("cw").check_norm("l2")
    with pytest.raises(AttackError, match="The attack cw supports l2, not linf"):
        AttackStep.of("cw").check_norm("linf")
    assert {name for name, kind in ATTACKS.items() if "linf" not in kind.norms} == {"cw", "deepfool"}
