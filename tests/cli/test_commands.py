"""What a user types in a fresh directory, with the shipped model and few images."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from robustcsc.errors import RobustCSCError
from robustcsc.runs import Run

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]

TAKEN = (
    "There is no run here yet: textures-demo is sdnet-textures, which comes with the package, on the embedded, "
    "synthetic textures."
)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_attack_as_typed_in_an_empty_directory(few_digits: None, robustcsc: Command, place: Path) -> None:
    done = robustcsc("attack --pgd linf")
    assert done.code == 0
    assert TAKEN in done.err
    assert "Only the training lambda is attacked: for the adaptive one, first run `robustcsc fit-lambda" in done.err
    assert "PGD L∞ 8/255, 20 steps" in done.out
    measured = {row["kind"]: row for row in rows_of(place / "runs/textures-demo/results.csv")}
    clean, attacked = measured["clean"], measured["attack"]
    assert (clean["policy"], clean["total"]) == ("train", "20")
    assert (attacked["norm"], attacked["total"]) == ("linf", "20")
    (step,) = json.loads(attacked["steps"])
    assert (step["name"], dict(step["settings"])) == ("pgd", {"steps": 20, "loss": "ce"})
    assert float(attacked["epsilon"]) == 8 / 255
    assert int(attacked["met"]) <= int(clean["met"])


def test_attack_without_a_name_is_pgd_linf(few_digits: None, robustcsc: Command) -> None:
    first = json.loads(robustcsc("attack --steps 2 --json").out)
    again = json.loads(robustcsc("attack --pgd linf --epsilon 8/255 --steps 2 --json").out)
    assert first == again
    budget = json.loads(robustcsc("attack --pgd l2 --epsilon 0.5 --steps 2 --json").out)[-1]
    assert (budget["norm"], budget["epsilon"]) == ("l2", 0.5)


def test_an_unchanged_fit_is_found_and_measured_again_on_request(
    few_digits: None, undrawn: None, robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = "fit-lambda --grid 0.1,0.5 --noise gaussian,shot --limit 20 --json"
    first = robustcsc(typed)
    file = place / "runs/textures-demo/lambda/gaussian.json"
    assert [fit["noise"] for fit in json.loads(first.out)] == ["gaussian", "shot"]
    kept = json.loads(file.read_text())
    assert json.loads(first.out)[0] | {"sha256": kept["sha256"]} == kept
    written = file.stat().st_mtime_ns

    def measured(*arguments: object, **settings: object) -> NoReturn:
        raise RobustCSCError("A fit was measured.")

    with monkeypatch.context() as patched:
        patched.setattr("robustcsc.adaptive.search.Search.family", measured)
        assert robustcsc(typed).out == first.out
        assert robustcsc(typed.replace("gaussian,shot", "shot")).code == 0
        for changed in ("--remeasure", "--seed 1", "--grid 0.1,0.4"):
            assert robustcsc(f"{typed} {changed}").err.endswith("Error: A fit was measured.\n")
    assert file.stat().st_mtime_ns == written
    again, before = (json.loads(text) for text in (robustcsc(f"{typed} --remeasure").out, first.out))
    assert [it | {"created": ""} for it in again] == [it | {"created": ""} for it in before]
    assert file.stat().st_mtime_ns > written


def test_report_as_typed_in_an_empty_directory_measures_something_first(
    few_digits: None, undrawn: None, robustcsc: Command, place: Path
) -> None:
    done = robustcsc("report --json")
    assert done.code == 0
    assert TAKEN in done.err
    assert "Nothing has been measured under noise yet" in done.err
    written = json.loads(done.out)
    page = Path(written["page"])
    assert page == place / "runs/textures-demo/reports/index.html"
    assert "gaussian noise" in page.read_text()
    assert all(Path(path).is_file() for path in [*written["tables"], *written["figures"], written["records"]])
    measured = rows_of(Path(written["records"]))
    assert len(measured) == 2 * 21  # at the training lambda and the adaptive one: clean, four noises at five severities
    stored = rows_of(place / "runs/textures-demo/results.csv")
    assert sorted(row["met"] for row in stored) == sorted(row["met"] for row in measured)
    again = robustcsc("report")
    assert "textures test, " in again.out
    assert "measured under noise" not in again.err  # once is enough


def test_report_after_nothing_but_a_fit_measures_something_first(
    few_digits: None, undrawn: None, robustcsc: Command
) -> None:
    assert robustcsc("fit-lambda --grid 0.1,0.5").code == 0
    done = robustcsc("report")
    assert done.code == 0
    assert "adaptive lambda" in done.out


def test_the_three_commands_as_typed_in_an_empty_directory_show_noise_and_attack(
    few_digits: None, robustcsc: Command, place: Path
) -> None:
    done = robustcsc("fit-lambda")
    assert done.code == 0
    assert TAKEN in done.err
    assert re.search(r"^gaussian  \S+ [+-] \S+ r  ", done.out, re.MULTILINE)
    folder = place / "runs/textures-demo/lambda"
    fit = json.loads((folder / "gaussian.json").read_text())
    assert fit["grid"] == [round(0.1 * step, 1) for step in range(1, 16)]
    assert len(fit["levels"]) == 10
    assert len(list(folder.glob("*.csv"))) == 2
    assert len(list(folder.glob("*.png"))) >= 2
    assert not list(place.rglob("*.partial"))
    assert robustcsc("attack --pgd linf").code == 0
    done = robustcsc("report")
    assert done.code == 0
    assert "Under the 4 noises" in done.out and "nder attack" in done.out
    rows = rows_of(place / "runs/textures-demo/reports/records.csv")
    kinds = {(row["kind"], row["policy"]) for row in rows}
    assert {("corruption", "train"), ("corruption", "adaptive"), ("attack", "train"), ("attack", "adaptive")} <= kinds


def test_sweep_compares_policies_on_the_same_images(few_digits: None, undrawn: None, robustcsc: Command) -> None:
    assert robustcsc("fit-lambda --grid 0.1,1.5").code == 0
    typed = "sweep --corruptions noise --severities 1,5 --lambda train,adaptive,adaptive-image,oracle"
    rows = json.loads(robustcsc(f"{typed} --json").out)
    assert len(rows) == 4 * (1 + 4 * 2)
    assert {(row["policy"], row.get("policy.scope")) for row in rows} == {
        ("train", None),
        ("adaptive", "dataset"),
        ("adaptive", "image"),
        ("oracle", None),
    }
    correct = {(row.get("name"), row.get("severity"), row["policy"]): row["met"] for row in rows}
    assert all(
        correct[name, severity, "oracle"] >= correct[name, severity, "train"] for name, severity, _ in correct
    )  # the oracle chooses among lambdas of which one is the training lambda
    done = robustcsc(typed)
    assert done.out.startswith("Under the 4 noises") and "its training lambda" in " ".join(done.out.split())
    assert "oracle" not in done.out  # it sees the test labels


def test_what_was_measured_is_not_measured_again(
    few_digits: None, robustcsc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = ["evaluate --json", "sweep --corruptions noise --json", "attack --steps 1 --json"]
    first = [robustcsc(typed).out for typed in commands]

    def measure(*_: object, **__: object) -> None:
        pytest.fail("measured again")

    monkeypatch.setattr("robustcsc.evaluation.measure.Evaluator.measure", measure)
    assert [robustcsc(typed).out for typed in commands] == first


def test_more_images_than_there_are_means_all(few_digits: None, robustcsc: Command) -> None:
    limited, whole = (json.loads(robustcsc(f"evaluate {limit} --json").out) for limit in ("--limit 9999", ""))
    assert limited == whole
    assert limited[0]["total"] == 20


def test_reports_of_two_runs_stand_side_by_side(
    few_digits: None, undrawn: None, robustcsc: Command, make_run: MakeRun, place: Path
) -> None:
    make_run("resnet", "resnet-digits")
    make_run("sdnet", "sdnet-digits")
    for name in ("resnet", "sdnet"):
        assert robustcsc(f"evaluate --run {name}").code == 0
    done = robustcsc("report sdnet resnet --out both")
    assert done.code == 0
    assert {row["run"] for row in rows_of(place / "both/records.csv")} == {"resnet", "sdnet"}
    assert "resnet" in done.out
    assert "sdnet" in done.out


def test_training_makes_a_run_that_the_next_commands_take(few_digits: None, robustcsc: Command, place: Path) -> None:
    done = robustcsc("train sdnet-digits --epochs 2 --model-option atoms=8 --model-option num_steps=1 --json")
    assert done.code == 0
    made = json.loads(done.out)
    assert made["run"] == "sdnet-digits-digits"
    assert made["spec"]["options"] == {"atoms": 8, "num_steps": 1}
    assert made["training"]["recipe"]["epochs"] == 2
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    (measured,) = json.loads(robustcsc("evaluate --json").out)
    assert (measured["run"], measured["weights"]) == (made["run"], made["sha256"])


def test_training_on_attacked_images_says_so(few_digits: None, robustcsc: Command) -> None:
    typed = "train resnet-digits --epochs 1 --adversarial fgsm --epsilon 0.1 --json"
    made = json.loads(robustcsc(typed).out)
    assert made["training"]["adversarial"] == {"adversary": "fgsm", "epsilon": 0.1}


@pytest.mark.slow
def test_numbers_of_parameters_are_the_known_ones(robustcsc: Command) -> None:
    listed = {entry["model"]: entry for entry in json.loads(robustcsc("models --json").out)}
    # ResNet-18 for CIFAR (3x3 stem): 11,173,962, as in kuangliu/pytorch-cifar; ResNet-20: 0.27 M (He et al., Table 6)
    assert listed["resnet18"]["parameters"] == 11_173_962
    assert round(listed["resnet20"]["parameters"] / 1e6, 2) == 0.27
    assert listed["sdnet18"]["options"]["lam"] == 0.1
    shown = robustcsc("models").out
    assert "11,173,962" in shown


def test_strengths_are_those_of_the_table(robustcsc: Command) -> None:
    table = json.loads(robustcsc("corruptions --json").out)
    # Hendrycks & Dietterich, make_cifar_c.py
    assert [level["std"] for level in table["corruptions"]["gaussian_noise"]["levels"]] == [0.04, 0.06, 0.08, 0.09, 0.1]
    assert "std 0.04" in robustcsc("corruptions").out
    assert json.loads(robustcsc("corruptions imagenet_c --json").out)["image_size"] == 224


def test_data_sets_say_what_they_need(robustcsc: Command) -> None:
    sets = json.loads(robustcsc("data --json").out)
    assert not sets["digits"]["needs_root"] and not sets["textures"]["needs_root"]
    assert sets["cifar10"]["can_download"]
    assert "imagefolder" in robustcsc("data").out


@pytest.mark.parametrize(
    "command",
    [
        *("quickstart", "train", "evaluate", "sweep", "fit-lambda", "attack", "uap", "random-noise"),
        *("report", "merge", "leaderboard", "models", "corruptions", "data", "data corrupt"),
    ],
)
def test_every_command_explains_itself(command: str, robustcsc: Command) -> None:
    done = robustcsc(f"{command} --help")
    assert done.code == 0
    assert f"Usage: robustcsc {command}" in done.out
    assert "--json" in done.out
