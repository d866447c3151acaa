"""`robustcsc inspect atoms`, `classifier`, `codes`, `metric`, `reconstruction` and `residuals`."""

import csv
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from robustcsc.data import load
from robustcsc.layers.csc import CSCConv2d
from robustcsc.models import checkpoint
from robustcsc.runs import Run

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]
Contents = Callable[[], dict[str, bytes | None]]

COMMANDS = ("atoms", "classifier", "codes", "metric", "reconstruction", "residuals")
#: A model that each command can inspect.
SUITED = {
    "atoms": "sdnet-digits",
    "classifier": "tddl-cnn",
    "codes": "sdnet-digits",
    "metric": "detrame-resnet8",
    "reconstruction": "sdnet-digits",
    "residuals": "sdnet-digits",
}
FIGURES = {
    "atoms": ["atoms-stem-0"],
    "classifier": ["classifier-pictures", "classifier-weights"],
    "codes": ["codes"],
    "metric": ["metric-"] * 3,
    "reconstruction": ["reconstruction"],
    "residuals": ["residuals"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_table_is_printed_tables_and_figures_are_written_and_the_run_stays_as_it_is(
    command: str, robustcsc: Command, make_run: MakeRun, few_digits: None, contents: Contents
) -> None:
    make_run("here", SUITED[command])
    before = contents()
    done = robustcsc(f"inspect {command} --run here --out found/there")
    assert done.code == 0, done.err
    assert SUITED[command] in done.out
    assert "Written: found/there/" in done.err
    after = contents()
    assert {name: after[name] for name in before} == before
    written = sorted(set(after) - set(before) - {"found", "found/there"})
    assert all(name.startswith("found/there/") for name in written)
    assert f"found/there/{command}.csv" in written
    for ending, start in ((".png", b"\x89PNG"), (".svg", b"<svg")):
        figures = [name for name in written if name.endswith(ending)]
        assert len(figures) == len(FIGURES[command])
        for name, beginning in zip(figures, FIGURES[command], strict=True):
            assert Path(name).name.startswith(beginning)
            content = after[name]
            assert content is not None and content.startswith(start)
    rows = list(csv.reader(Path(f"found/there/{command}.csv").read_text().splitlines()))
    assert len(rows) > 1
    ends = {"AUC low", "AUC high"}  # printed in brackets behind the AUC
    assert all(heading in done.out for heading in set(rows[0]) - ends)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_of_another_kind_is_refused_in_one_sentence_and_nothing_is_written(
    command: str, robustcsc: Command, make_run: MakeRun, few_digits: None, contents: Contents
) -> None:
    make_run("here", "resnet-digits")
    before = contents()
    done = robustcsc(f"inspect {command} --run here --out found")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: This ") and done.err.count("\n") == 1
    assert contents() == before


@pytest.mark.parametrize("command", ["atoms", "codes", "metric", "residuals"])
def test_an_unknown_layer_is_refused_with_those_there_are(
    command: str, robustcsc: Command, make_run: MakeRun, few_digits: None
) -> None:
    make_run("here", SUITED[command])
    done = robustcsc(f"inspect {command} --run here --layers head")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: There is no layer 'head' to inspect: choose --layers among st")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_out_folder_that_cannot_be_is_refused_before_anything_is_computed(
    command: str, robustcsc: Command, place: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustcsc.models.checkpoint.load_shipped", lambda name: pytest.fail("a model was loaded"))
    (place / "taken").touch()
    done = robustcsc(f"inspect {command} --out taken/below")
    assert (done.code, done.out) == (2, "")
    assert done.err == "Error: --out taken/below cannot be written to (taken is a file): choose another folder.\n"
    assert set(contents()) == {"taken"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(robustcsc: Command, place: Path, few_digits: None) -> None:
    (place / "locked").mkdir(mode=0o500)
    done = robustcsc("inspect atoms --out locked")
    assert done.code == 2
    assert "--out locked cannot be written to (Permission denied)" in done.err


def test_when_writing_fails_half_way_nothing_stays(
    robustcsc: Command, few_digits: None, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, count = Path.write_bytes, 0

    def fails_at_the_third(path: Path, content: bytes) -> int:
        nonlocal count
        count += 1
        if count == 3:
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", fails_at_the_third)
    done = robustcsc("inspect codes --out new/found")
    assert (done.code, count) == (2, 3)
    assert contents() == {}


def test_atoms_of_the_shipped_model_have_unit_norm(robustcsc: Command, few_digits: None) -> None:
    (found,) = json.loads(robustcsc("inspect atoms --json").out)
    assert (found["layer"], found["kind"], found["shape"]) == ("stem.0", "CSC", [16, 3, 7, 7])
    assert found["smallest_norm"] == pytest.approx(1, abs=1e-5)
    assert found["largest_norm"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("model", ["tddl-lin", "tddl-cnn"])
def test_atoms_of_a_task_driven_model(
    model: str, robustcsc: Command, make_run: MakeRun, few_digits: None, place: Path
) -> None:
    make_run("here", model)
    done = robustcsc("inspect atoms --run here --out found --json")
    assert done.code == 0, done.err
    (found,) = json.loads(done.out)
    assert (found["kind"], found["shape"][0]) == ("task-driven", 400)
    assert len(list((place / "found").glob("atoms-code-*.png"))) == 1
    assert (place / "found" / "projection.png").exists() == (model == "tddl-lin")


def test_shares_of_zeros_are_those_of_the_layer(robustcsc: Command, few_digits: None) -> None:
    (found,) = json.loads(robustcsc("inspect codes --json --batch-size 7").out)
    model = checkpoint.load_shipped("sdnet-textures").model
    (batch,) = load("textures", split="test").subset(torch.arange(20)).batches(20)
    layer = next(module for module in model.modules() if isinstance(module, CSCConv2d))
    with torch.no_grad():
        codes = layer((batch.images - 0.5) / 0.2)
    assert found["images"] == 20
    assert found["zeros"] == pytest.approx(float((codes == 0).double().mean()))
    for label in range(10):
        part = codes[batch.labels == label]
        expected = float((part == 0).double().mean()) if len(part) else None
        assert found["class_zeros"][label] == (None if expected is None else pytest.approx(expected))


def test_a_task_driven_model_tells_its_sparsity_by_class(
    robustcsc: Command, make_run: MakeRun, few_digits: None
) -> None:
    make_run("here", "tddl-cnn")
    done = robustcsc("inspect codes --run here --limit 10")
    assert done.code == 0
    assert "Sparsity of the codes by class" in done.out
    assert "Sparsity of the codes by class" not in robustcsc("inspect codes --run here --limit 10 --json").out


def test_clean_and_corrupted_images_are_reconstructed(robustcsc: Command, few_digits: None) -> None:
    done = robustcsc("inspect reconstruction --corruption gaussian_noise --severity 5 --json")
    assert done.code == 0, done.err
    clean, noisy = json.loads(done.out)
    assert (clean["given"], noisy["given"]) == ("clean", "gaussian_noise 5")
    assert clean["psnr"] == clean["psnr_clean"]
    assert noisy["psnr"] != noisy["psnr_clean"]
    coded = json.loads(robustcsc("inspect coding --limit 20 --json").out)[0]
    assert clean["relative_error"] == pytest.approx(coded["relative_residual"], rel=1e-5)


def test_an_unknown_corruption_is_refused(robustcsc: Command, few_digits: None) -> None:
    for typed in ("reconstruction --corruption rain", "residuals --corruptions rain"):
        done = robustcsc(f"inspect {typed}")
        assert (done.code, done.out) == (2, "")
        assert "rain" in done.err


def test_residuals_of_chosen_corruptions(robustcsc: Command, few_digits: None) -> None:
    done = robustcsc("inspect residuals --corruptions gaussian_noise,shot_noise --severities 1,5 --json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    cells = [(it["corruption"], it["severity"]) for it in found]
    assert cells == [("clean", 0), *((name, at) for name in ("gaussian_noise", "shot_noise") for at in (1, 5))]
    assert found[0]["auc"] is None
    for it in found[1:]:
        assert 0 <= it["auc"]["low"] <= it["auc"]["area"] <= it["auc"]["high"] <= 1
    model = checkpoint.load_shipped("sdnet-textures").model
    (batch,) = load("textures", split="test").subset(torch.arange(20)).batches(20)
    layer = next(module for module in model.modules() if isinstance(module, CSCConv2d))
    with torch.no_grad():
        residual = layer.residual((batch.images - 0.5) / 0.2, layer((batch.images - 0.5) / 0.2))
    assert found[0]["mean"] == pytest.approx(float(residual.mean()), rel=1e-5)


FACTORY = """
import torch
from torch import nn
from robustcsc.layers.csc import CSCConv2d

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = CSCConv2d(1, 4, 3), nn.BatchNorm2d(4), CSCConv2d(4, 6, 3, 2)
        self.head = nn.Linear(6, 10)

    def forward(self, images):
        codes = self.second(self.norm(self.first((images - 0.3) / 0.4)))
        return self.head(codes.mean((2, 3)))
"""


@pytest.fixture
def own(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A model in the working directory; it is forgotten afterwards."""
    (place / "ownnet.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(place)
    yield importlib.import_module("ownnet").Own()
    del sys.modules["ownnet"]


def test_a_model_of_the_users_own(own: Any, robustcsc: Command, place: Path, few_digits: None) -> None:
    state = {
        "first.dictionary.weight": torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0)),
        "second.dictionary.weight": torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1)),
    }
    for name, weight in state.items():
        state[name] = weight / weight.flatten(1).norm(dim=1)[:, None, None, None]
    own.load_state_dict(state, strict=False)
    save_file(own.state_dict(), place / "w.safetensors")
    chosen = "--model ownnet:Own --weights w.safetensors --data digits --limit 10 --json"
    for command, layers in (("atoms", 2), ("codes", 2), ("reconstruction", 2)):
        done = robustcsc(f"inspect {command} {chosen}")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert [it["layer"] for it in found] == ["first", "second"][:layers]
    done = robustcsc(f"inspect residuals {chosen} --corruptions gaussian_noise --severities 5 --layers second")
    assert done.code == 0, done.err
    assert [it["corruption"] for it in json.loads(done.out)] == ["clean", "gaussian_noise"]
