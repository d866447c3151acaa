"""A place with one file of every kind that a command reads, made once; a test gets a copy of it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from robustcsc.cli import main as cli_main
from tests.cli.conftest import built_once as built_once  # for all tests here

#: Commands that make the files, each on 20 test images.
MADE_BY = (
    "train sdnet-digits --run sdnet --epochs 1",
    "evaluate --run sdnet --lambda train,fixed=0.2",
    "fit-lambda --run sdnet --noise gaussian --grid 0.1,0.3 --limit 8",
    "sweep --run sdnet --corruptions gaussian_noise --severities 1 --lambda train,adaptive",
    "attack --run sdnet --pgd linf --steps 1 --protocols static --save adv.safetensors",
    "attack --run sdnet --min-epsilon --steps 1 --protocols plain",
    "uap --run sdnet --xi 0.05 --seeds 1 --passes 1 --crafting-images 8",
    "report sdnet --examples 1 --out shown",
    "data corrupt --data digits --out exported --corruptions gaussian_noise",
    "train sdnet-digits --run half --epochs 1",
)
TABLE = """\
[benchmark]
image_size = 8
source = "mine"

[gaussian_noise]
kernel = "gaussian_noise"
group = "noise"
standard = true
levels = [{ std = 0.04 }, { std = 0.06 }, { std = 0.08 }, { std = 0.09 }, { std = 0.10 }]
"""
EXPERIMENT = """\
device = "cpu"

[[model]]
run = "sdnet"

[evaluate]
lambda = ["train", "fixed=0.3"]
limit = 8
"""


def make_workshop(place: Path) -> None:
    """Makes the files in an empty folder."""
    import torch
    from PIL import Image

    from robustcsc.models.checkpoint import load

    place.mkdir(parents=True)
    os.chdir(place)
    for typed in MADE_BY:
        assert cli_main.main(typed.split()) == 0, typed
    (place / "runs/half/weights.safetensors").unlink()
    for digit in range(10):
        (place / f"images/test/c{digit}").mkdir(parents=True)
        Image.new("L", (8, 8), 20 * digit).save(place / f"images/test/c{digit}/a.png")
    assert cli_main.main(["evaluate", "--run", "sdnet", "--data", "imagefolder", "--root", "images"]) == 0
    (place / "table.toml").write_text(TABLE)
    (place / "experiment.toml").write_text(EXPERIMENT)
    (place / "classes.txt").write_text("".join(f"c{digit}={digit}\n" for digit in range(10)))
    torch.save(load(place / "runs/sdnet/weights.safetensors").model.state_dict(), place / "plain.pth")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that tests take copies of."""
    from robustcsc.data.catalog import EMBEDDED
    from tests.cli.conftest import few

    place, before, whole = tmp_path_factory.mktemp("faults") / "workshop", Path.cwd(), dict(EMBEDDED)
    EMBEDDED.update({name: partial(few, name) for name in EMBEDDED})
    try:
        make_workshop(place)
        yield place
    finally:
        os.chdir(before)
        EMBEDDED.update(whole)


@pytest.fixture
def copied(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workshop, in which commands run."""
    place = tmp_path / "place"
    shutil.copytree(workshop, place)
    monkeypatch.chdir(place)
    return place


def run(typed: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Returns the exit code of a command and what it printed."""
    capsys.readouterr()
    code = cli_main.main(typed.split())
    sys.modules.pop("own", None)
    return code, *capsys.readouterr()


Runner = Callable[[str], tuple[int, str, str]]
