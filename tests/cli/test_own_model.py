"""A model that the toolkit does not know, from a factory in the user's directory."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from robustcsc.runs import Run

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]

FACTORY = """
from torch import nn

def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def words():
    return "a model"

def sparse():
    from robustcsc.models.convert import convert
    return convert(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10)), (1, 8, 8))
"""


@pytest.fixture
def package(place: Path) -> Iterator[str]:
    """Makes a package in the working directory and returns its name; it is forgotten afterwards."""
    (place / "mypkg").mkdir()
    (place / "mypkg" / "__init__.py").write_text(FACTORY)
    yield "mypkg"
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
        del sys.modules[name]


def always(label: int) -> dict[str, torch.Tensor]:
    """The state dict of a linear model that answers `label` whatever it sees."""
    bias = torch.zeros(10)
    bias[label] = 10
    return {"1.weight": torch.zeros(10, 64), "1.bias": bias}


def test_own_model_is_evaluated_and_attacked(package: str, robustcsc: Command, place: Path) -> None:
    torch.save(always(3), place / "w.pth")
    done = robustcsc(f"evaluate --model {package}:linear --weights w.pth --data digits --json")
    assert done.code == 0, done.err
    (clean,) = json.loads(done.out)
    # 51 of the 500 test images are a three: the model is right exactly on them
    assert (clean["met"], clean["total"], clean["policy"]) == (51, 500, "none")
    assert clean["run"] == f"{package}-linear"
    refused = robustcsc("attack --steps 2 --json")  # a run folder alone is no reason to run code that it names
    assert (refused.code, refused.out) == (2, "")
    assert f"add --model {package}:linear if you trust it" in refused.err
    attacked = json.loads(robustcsc(f"attack --model {package}:linear --steps 2 --json").out)[-1]
    assert attacked["run"] == clean["run"]
    # nothing the attacker does to the pixels changes the answer
    assert (attacked["kind"], attacked["met"], attacked["total"]) == ("attack", 51, 500)


def test_own_model_with_csc_layers_has_a_lambda(package: str, robustcsc: Command, place: Path) -> None:
    from mypkg import sparse  # type: ignore[import-not-found]

    torch.save(sparse().state_dict(), place / "w.pth")
    done = robustcsc(
        f"evaluate --model {package}:sparse --weights w.pth --data digits --limit 10 --lambda train,fixed=0.5 --json"
    )
    assert done.code == 0, done.err
    assert [(row["policy"], row["lambda"]) for row in json.loads(done.out)] == [("train", 0.1), ("fixed", 0.5)]


def test_own_factory_that_returns_no_module_is_refused(package: str, robustcsc: Command, place: Path) -> None:
    torch.save(always(3), place / "w.pth")
    done = robustcsc(f"evaluate --model {package}:words --weights w.pth --data digits")
    assert done.code == 2
    assert done.err == "Error: mypkg:words returned a str: it must return an nn.Module.\n"
    assert not (place / "runs").exists()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_a_known_model_from_elsewhere(
    prefix: str, robustcsc: Command, make_run: MakeRun, place: Path
) -> None:
    from robustcsc.models import checkpoint

    shipped = checkpoint.load_shipped("sdnet-digits")
    state = {f"{prefix}{name}": tensor for name, tensor in shipped.model.state_dict().items()}
    torch.save({"state_dict": state}, place / "w.pth")
    typed = "evaluate --run theirs --model sdnet-digits --weights w.pth --data digits --limit 50 --json"
    done = robustcsc(typed)
    assert done.code == 0, done.err
    make_run("ours", "sdnet-digits")
    (ours,) = json.loads(robustcsc("evaluate --run ours --limit 50 --json").out)
    (theirs,) = json.loads(done.out)
    assert theirs["weights"] == ours["weights"] == shipped.weights
    assert theirs["met"] == ours["met"]
    assert json.loads(robustcsc(typed).out) == [theirs]  # the same weights once more are the same run
