"""Universal perturbations and random noise as typed, and what is refused about them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from robustcsc.runs import Run

pytestmark = pytest.mark.usefixtures("undrawn")

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]
Contents = Callable[[], dict[str, bytes | None]]


def test_uap_is_crafted_scored_kept_and_reported(few_digits: None, robustcsc: Command, place: Path) -> None:
    done = robustcsc("uap --norm l2 --xi 0.5,1.5 --passes 2 --crafting-images 30 --seeds 2")
    assert done.code == 0, done.err
    assert "crafted on 30 train images" in done.out and "random signs" in done.out and "2 seeds" in done.out
    assert "runs/textures-demo/perturbations" in done.err
    kept = sorted((place / "runs/textures-demo/perturbations").iterdir())
    assert [path.suffix for path in kept] == [".png", ".safetensors"] * 2
    for path in kept[1::2]:
        size = 0.5 if "-0.5-" in path.name else 1.5
        assert 0.8 * size < load_file(path)["perturbation"].norm() <= size
    assert robustcsc("report").code == 0
    report = place / "runs/textures-demo/reports"
    assert len((report / "fooling.csv").read_text().splitlines()) == 1 + 2 * 2 * 3
    assert [path.suffix for path in sorted((report / "figures").glob("fooling-uap*"))] == [".svg"]


def test_uap_as_json_has_both_metrics_and_how_it_was_made(few_digits: None, robustcsc: Command) -> None:
    rows = json.loads(robustcsc("uap --xi 51/255 --passes 1 --batch-size 10 --seed 3 --json").out)
    first, second = rows[:2]
    assert (first["kind"], first["norm"], first["epsilon"]) == ("universal", "linf", 0.2)
    assert (first["metric"], first["total"], first["crafting.seed"]) == ("fooling rate", 20, 3)
    assert (second["metric"], second["total"] <= 20) == ("fooling rate of correct images", True)
    assert (first["crafting.count"], first["crafting.passes"], first["details.passes"]) == (60, 1, 1)
    assert {row["seed"] for row in rows if row["kind"] == "random-control"} == {3, 4, 5}
    assert first["crafting.batch_size"] == 10


def test_random_perturbations_of_the_same_norm_alone(few_digits: None, robustcsc: Command, place: Path) -> None:
    both = json.loads(robustcsc("uap --passes 1 --crafting-images 20 --seeds 2 --json").out)
    alone = robustcsc("uap --only-controls --seeds 2 --json")
    assert json.loads(alone.out) == [row for row in both if row["kind"] == "random-control"]
    assert "perturbations" not in alone.err
    without = json.loads(robustcsc("uap --passes 1 --crafting-images 20 --seeds 0 --json").out)
    assert without == [row for row in both if row["kind"] == "universal"]


def test_random_noise_as_typed(few_digits: None, robustcsc: Command, place: Path) -> None:
    rows = json.loads(robustcsc("random-noise --rho 0.1:0.3:0.1 --lambda train,fixed=0.5 --json").out)
    found = {(row.get("policy.value"), row["rho"], row["seed"]) for row in rows}
    assert found == {(lam, rho, seed) for lam in (None, 0.5) for rho in (0.1, 0.2, 0.3) for seed in range(3)}
    shown = robustcsc("random-noise --rho 0.1,0.2")
    assert shown.code == 0 and "0.1" in shown.out and "(3 seeds)" in shown.out
    assert robustcsc("report").code == 0
    assert list((place / "runs/textures-demo/reports/figures").glob("fooling-noise*.svg"))


def test_models_stand_side_by_side_in_a_report(few_digits: None, robustcsc: Command, make_run: MakeRun) -> None:
    for name, model in (("first", "sdnet-digits"), ("second", "resnet-digits")):
        make_run(name, model)
        assert robustcsc(f"random-noise --rho 0.1,0.2 --seeds 1 --run {name}").code == 0
    shown = robustcsc("report first second").out
    table = shown[shown.index("Random noise") :]
    assert "first" in table and "second" in table


WRONG = {
    "xi of zero": ("uap --xi 0", "xi must be above 0"),
    "xi below zero": ("uap --xi -0.1", "'-0.1' is no attack budget"),
    "xi in grey levels": ("uap --xi 10", "did you mean 10/255?"),
    "xi in words": ("uap --xi much", "'much' is no attack budget"),
    "xi without a value": ("uap --xi ,", "--xi is empty"),
    "delta of one": ("uap --delta 1", "delta must be at least 0 and below 1"),
    "delta below zero": ("uap --delta -0.2", "delta must be at least 0 and below 1"),
    "delta that is no number": ("uap --delta nan", "delta must be at least 0 and below 1"),
    "unknown protocol": ("uap --protocols transfer", "Unknown attack protocol 'transfer'"),
    "rho below zero": ("random-noise --rho -0.1", "rho must be a finite number of at least 0"),
    "rho in percent": ("random-noise --rho 10", "at 10 the noise is stronger than the image: did you mean 0.1?"),
    "rho of which one is in percent": ("random-noise --rho 0.1,5", "did you mean 0.05?"),
    "xi in grey levels, of controls": ("uap --only-controls --norm l2 --xi 2000", "did you mean 2000/255?"),
    "rho in words": ("random-noise --rho loud", "'loud' is no list of numbers"),
    "rho without a value": ("random-noise --rho ,", "--rho ',' is no list of numbers"),
    "oracle": ("random-noise --lambda oracle", "The oracle chooses lambda for accuracy"),
    "rho of no length": ("random-noise --rho 0.1:0.2:0", "--rho '0.1:0.2:0' is no list of numbers"),
    "no protocol": ("uap --protocols ,", "--protocols is empty"),
    "xi of controls": ("uap --only-controls --xi 0", "xi must be above 0"),
    "two attacks": ("attack --pgd linf --attack fgsm", "--pgd and --attack exclude each other"),
    "two attacks again": ("attack --suite paper --score a", "--suite and --score exclude each other"),
}


@pytest.mark.parametrize(
    "typed",
    [
        *("attack --xi 0.1", "attack --seeds 3", "attack --rho 0.1", "random-noise --steps 3", "random-noise --xi 0.1"),
        *("uap --epsilon 0.1", "uap --lambda train", "uap --rho 0.1", "random-noise --seeds 0", "uap --seeds -1"),
    ],
)
def test_options_of_other_commands_and_values_out_of_range_are_wrong_usage(
    typed: str, robustcsc: Command, place: Path
) -> None:
    done = robustcsc(typed)
    assert (done.code, done.out) == (2, "")
    assert typed.split()[1] in done.err and ("Unknown option" in done.err or " needs a whole number of " in done.err)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("typed", "expected"), WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    typed: str, expected: str, robustcsc: Command, place: Path
) -> None:
    done = robustcsc(typed)
    assert (done.code, done.out) == (2, "")
    sentence = done.err.splitlines()[-1]
    assert sentence.startswith("Error: ") and expected in sentence
    assert list(place.iterdir()) == []


def test_data_without_a_training_split_are_refused(
    robustcsc: Command, place: Path, make_run: MakeRun, contents: Contents
) -> None:
    from PIL import Image

    make_run("resnet", "resnet-digits")
    for label in range(10):
        folder = place / "data" / "test" / str(label)
        folder.mkdir(parents=True)
        Image.new("L", (8, 8), 20 * label).save(folder / "image.png")
    before = contents()
    done = robustcsc("uap --run resnet --data imagefolder --root data")
    assert done.code == 2 and "train" in done.err.splitlines()[-1]
    assert contents() == before


def test_protocols_of_a_uap_need_a_fit(few_digits: None, robustcsc: Command, make_run: MakeRun) -> None:
    make_run("sdnet", "sdnet-digits")
    refused = robustcsc("uap --protocols adaptive --run sdnet")
    assert refused.code == 2 and "robustcsc fit-lambda --run sdnet" in refused.err


def test_a_second_run_crafts_nothing_again(
    few_digits: None, robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = "uap --passes 1 --crafting-images 20 --seeds 1 --json"
    first = robustcsc(typed)
    assert first.code == 0

    def crafted(*positional: object, **named: object) -> None:
        raise AssertionError("crafted again")

    monkeypatch.setattr("robustcsc.evaluation.fooling.universal.universal_perturbation", crafted)
    assert robustcsc(typed).out == first.out
