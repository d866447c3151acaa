"""Attacks by name, suites and saved images, as typed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustcsc.runs import Run

pytestmark = pytest.mark.usefixtures("undrawn", "unchecked")

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]

QUICK = "--steps 2 --queries 5 --batch-size 20"


def settings_of(row: dict[str, Any]) -> list[tuple[str, dict[str, Any], int]]:
    """Returns name, settings and restarts of each attack of a row."""
    return [(step["name"], dict(step.get("settings", [])), step.get("restarts", 1)) for step in row["steps"]]


@pytest.mark.slow
def test_attacks_by_name_at_several_budgets(few_digits: None, robustcsc: Command) -> None:
    rows = json.loads(robustcsc(f"attack --attack fgsm,pgd,square {QUICK} --epsilon 4/255,0.1 --json").out)
    found = [(row["epsilon"], settings_of(row)) for row in rows[1:]]
    each = [("fgsm", {}, 1), ("pgd", {"loss": "ce", "steps": 2}, 1), ("square", {"queries": 5}, 1)]
    assert found == [(size, [step]) for size in (4 / 255, 0.1) for step in each]
    assert all(row["outcomes"] and row["details.cost.attacked"] == 20 for row in rows[1:])
    assert "worst of 3 attacks" in robustcsc(f"attack --attack fgsm,pgd,square {QUICK} --epsilon 4/255,0.1").out
    shown = robustcsc("report --full")
    assert "Attack by attack" in shown.out and "Under all attacks" in shown.out and "gradient calls" in shown.out


def test_settings_behind_colons_are_those_of_one_attack(few_digits: None, robustcsc: Command) -> None:
    typed = "attack --attack pgd:steps=1:restarts=2,pgd:step-size=2/255,apgd:steps=20 --steps 3 --restarts 4 --json"
    rows = json.loads(robustcsc(typed).out)
    assert [settings_of(row) for row in rows[1:]] == [
        [("pgd", {"loss": "ce", "steps": 1}, 2)],
        [("pgd", {"loss": "ce", "steps": 3, "step_size": 2 / 255}, 4)],
        [("apgd", {"loss": "ce", "steps": 20}, 4)],
    ]


def test_attacks_in_turn_are_counted_together(few_digits: None, robustcsc: Command) -> None:
    typed = "attack --attack fgsm,pgd --steps 2 --epsilon 0.002 --in-turn --json"
    _, first, both = json.loads(robustcsc(typed).out)
    assert [name for name, *_ in settings_of(both)] == ["fgsm", "pgd"]
    assert both["details.cost.attacked"] == first["met"] < 20  # those that the first one left
    assert both["met"] <= first["met"]


def test_the_loss_is_part_of_the_measurement(few_digits: None, robustcsc: Command) -> None:
    rows = json.loads(robustcsc("attack --loss dlr --steps 2 --json").out)
    assert settings_of(rows[-1]) == [("pgd", {"loss": "dlr", "steps": 2}, 1)]


def test_lambdas_of_a_protocol_are_those_that_were_named(few_digits: None, robustcsc: Command) -> None:
    typed = "attack --steps 1 --protocols fixed,grid --lambdas 0.2,0.7 --json"
    _, *fixed, grid = json.loads(robustcsc(typed).out)
    assert [(row["policy"], row["policy.value"], row["lambda"]) for row in fixed] == [
        ("fixed", 0.2, 0.2),
        ("fixed", 0.7, 0.7),
    ]
    assert (grid["policy"], grid["policy.values"]) == ("worst", [0.2, 0.7])


def test_a_suite_with_transfer(few_digits: None, robustcsc: Command, make_run: MakeRun) -> None:
    made = make_run("resnet", "resnet-digits")
    make_run("sdnet", "sdnet-digits")
    done = robustcsc("attack --run sdnet --suite paper --norm l2 --json")
    assert done.code == 0, done.err
    assert "Left out: static (needs a lambda fit), adaptive (needs a lambda fit)." in done.err
    rows = json.loads(done.out)
    assert [(row.get("protocol"), row["policy"]) for row in rows] == [
        (None, "train"),
        ("plain", "train"),
        ("static", "oracle"),
    ]
    done = robustcsc("attack --run sdnet --pgd l2 --steps 2 --from resnet --json")
    transfer = json.loads(done.out)[-1]
    assert (transfer["protocol"], transfer["surrogate.model"]) == ("transfer", "resnet-digits")
    assert (transfer["location.source_run"], transfer["run"]) == (made.name, "sdnet")
    refused = robustcsc("attack --run sdnet --suite paper --from resnet")
    assert refused.code == 2 and "This suite has no transfer attacks: leave --from out." in refused.err


def test_a_suite_within_budgets_that_were_typed(few_digits: None, robustcsc: Command) -> None:
    done = robustcsc("attack --suite paper --epsilon 4/255,0.1 --json")
    assert done.code == 0, done.err
    found = [(row["norm"], row["epsilon"], row["protocol"]) for row in json.loads(done.out)[1:]]
    assert found == [("linf", size, protocol) for size in (4 / 255, 0.1) for protocol in ("plain", "static")]
    again = json.loads(robustcsc("attack --pgd linf --epsilon 0.1 --protocols plain --json").out)[-1]
    assert again == json.loads(done.out)[3]  # the same key: found, not measured again
    l2 = json.loads(robustcsc("attack --suite paper --norm l2 --epsilon 0.25 --json").out)
    assert {(row["norm"], row["epsilon"]) for row in l2[1:]} == {("l2", 0.25)}
    shown = robustcsc("attack --suite paper --epsilon 4/255").out
    assert "L∞ 4/255" in shown and "8/255" not in shown


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--step-size 2", "2/255"),
        ("--step-size 1", "1/255"),
        ("--pgd l2 --epsilon 128", "128/255"),
        ("--pgd l2 --step-size 25.5", "25.5/255"),
        ("--attack pgd:step-size=2", "2/255"),
        ("--min-epsilon --pgd l2 --epsilon 255", "255/255"),
        ("--suite paper --epsilon 8", "8/255"),
        ("--suite paper --norm l2 --epsilon 128", "128/255"),
    ],
)
def test_numbers_in_grey_levels_are_refused_with_what_was_meant(
    typed: str, meant: str, robustcsc: Command, place: Path
) -> None:
    done = robustcsc(f"attack {typed}")
    assert (done.code, done.out) == (2, "")
    sentence = done.err.splitlines()[-1]
    assert "in pixel units of [0, 1]" in sentence and sentence.endswith(f"did you mean {meant}?")
    assert not list(place.iterdir())


def test_saved_images_are_scored_again(few_digits: None, robustcsc: Command, make_run: MakeRun, place: Path) -> None:
    make_run("resnet", "resnet-digits")
    make_run("sdnet", "sdnet-digits")
    first = robustcsc("attack --run sdnet --steps 3 --protocols plain --save found.safetensors --json")
    assert first.code == 0 and "The adversarial images: found.safetensors" in first.err
    attacked = json.loads(first.out)[-1]
    again = json.loads(robustcsc("attack --run sdnet --score found.safetensors --lambda train,fixed=0.5 --json").out)
    assert [(row["policy"], row.get("policy.value")) for row in again] == [("train", None), ("fixed", 0.5)]
    assert again[0]["outcomes"] == attacked["outcomes"]
    other = json.loads(robustcsc("attack --run resnet --score found.safetensors --json").out)
    assert (other[0]["protocol"], other[0]["saved.crafted_on.model"]) == ("plain", "sdnet-digits")
    assert other[0]["location.files"] == str(place / "found.safetensors")
    refused = robustcsc("attack --run sdnet --protocols plain --save found.safetensors")
    assert refused.code == 2 and "exists already" in refused.err


def test_a_damaged_store_is_told_before_images_are_crafted(
    few_digits: None, robustcsc: Command, make_run: MakeRun, place: Path
) -> None:
    make_run("sdnet", "sdnet-digits").store_path.write_bytes(b"no database" * 100)
    done = robustcsc("attack --protocols plain --save found.safetensors")
    assert (done.code, done.out) == (2, "") and "is damaged or no result store" in done.err
    assert not (place / "found.safetensors").exists()


def test_the_smallest_budgets(few_digits: None, robustcsc: Command) -> None:
    done = robustcsc("attack --min-epsilon --steps 3 --epsilon 0.5")
    assert done.code == 0, done.err
    assert "Smallest budgets" in done.out and "median" in done.out


@pytest.mark.parametrize("typed", ["--protocols fixed", "--protocols grid", "--protocols black-box"])
def test_protocols_of_lambda_are_refused_without_one(
    typed: str, few_digits: None, robustcsc: Command, make_run: MakeRun
) -> None:
    make_run("resnet", "resnet-digits")
    done = robustcsc(f"attack --run resnet --attack square --queries 2 {typed} --json")
    if typed.endswith("black-box"):
        assert json.loads(done.out)[-1]["policy"] == "none"
        return
    assert done.code == 2 and done.err.count("\n") == 1 and "no lambda for an attack to meet" in done.err
