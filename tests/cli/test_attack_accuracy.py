"""Attacks by name, suites and saved images, as typed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustcsc.runs import Run

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]

QUICK = "--steps 2 --queries 5 --batch-size 20"


def test_attacks_by_name_at_several_budgets(few_digits: None, robustcsc: Command) -> None:
    rows = json.loads(robustcsc(f"attack --attack fgsm,pgd,square {QUICK} --epsilon 4/255,0.1 --json").out)
    found = [(row["name"], row["epsilon"], row["steps"]) for row in rows[1:]]
    each = [("fgsm", None), ("pgd", 2), ("square", 5)]
    assert found == [(name, size, steps) for size in (4 / 255, 0.1) for name, steps in each]
    assert all(row["outcomes"] and json.loads(row["details"])["attacked"] == 20 for row in rows[1:])
    shown = robustcsc(f"attack --attack fgsm,pgd,square {QUICK} --epsilon 4/255,0.1")
    assert "Attack by attack" in shown.out and "Under all attacks" in shown.out and "gradient calls" in shown.out


def test_the_loss_is_part_of_the_name(few_digits: None, robustcsc: Command) -> None:
    rows = json.loads(robustcsc("attack --loss dlr --steps 2 --json").out)
    assert rows[-1]["name"] == "pgd (loss dlr)"


def test_a_suite_with_transfer(few_digits: None, robustcsc: Command, make_run: MakeRun) -> None:
    make_run("resnet", "resnet-digits")
    make_run("sdnet", "sdnet-digits")
    done = robustcsc("attack --run sdnet --suite paper --norm l2 --json")
    assert done.code == 0, done.err
    assert "Left out: static (needs a lambda fit), adaptive (needs a lambda fit)." in done.err
    assert [row["protocol"] for row in json.loads(done.out)] == ["", "plain", "static"]
    done = robustcsc("attack --run sdnet --pgd l2 --steps 2 --from resnet --json")
    assert json.loads(done.out)[-1]["protocol"].startswith("transfer from resnet-digits@")
    assert robustcsc("attack --run sdnet --suite paper --from resnet").code == 2


def test_saved_images_are_scored_again(few_digits: None, robustcsc: Command, make_run: MakeRun, place: Path) -> None:
    make_run("resnet", "resnet-digits")
    make_run("sdnet", "sdnet-digits")
    first = robustcsc("attack --run sdnet --steps 3 --protocols plain --save found.safetensors --json")
    assert first.code == 0 and "found.safetensors" in first.err
    attacked = json.loads(first.out)[-1]
    again = json.loads(robustcsc("attack --run sdnet --score found.safetensors --lambda train,fixed=0.5 --json").out)
    assert [row["policy"] for row in again] == ["train", "fixed=0.5"]
    assert again[0]["outcomes"] == attacked["outcomes"]
    other = json.loads(robustcsc("attack --run resnet --score found.safetensors --json").out)
    assert other[0]["protocol"].startswith("plain, saved from sdnet-digits@")
    refused = robustcsc("attack --run sdnet --protocols plain --save found.safetensors")
    assert refused.code == 2 and "exists already" in refused.err


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
    assert done.code == 2 and done.err.count("\n") == 1 and "there is no lambda for an attack to meet" in done.err
