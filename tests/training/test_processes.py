"""Several processes that train together: who they are, what each has of a batch, and that they agree with one."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from robustcsc.errors import RobustCSCError
from robustcsc.models import checkpoint
from robustcsc.training.augment import Share, add_gaussian_noise, crop_and_flip
from robustcsc.training.processes import Processes
from robustcsc.training.request import TrainingRequest
from robustcsc.training.run import Hardware
from tests.training.together import SCENARIOS, outcome

ROOT = Path(__file__).parents[2]
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6"}


def test_devices_start_processes_on_this_machine_and_torchrun_on_several() -> None:
    assert Processes.asked(None, {}) == Processes(here=1, machines=1, torchrun=False)
    assert Processes.asked(4, {}) == Processes(here=4, machines=1, torchrun=False)
    assert Processes.asked(None, TORCHRUN) == Processes(here=2, machines=3, torchrun=True)
    assert Processes.asked(2, TORCHRUN) == Processes.asked(None, TORCHRUN)


@pytest.mark.parametrize(
    ("devices", "environment", "sentence"),
    [
        (3, TORCHRUN, "torchrun has started 2 .* --devices says 3: .*--nproc-per-node 3"),
        (None, {**TORCHRUN, "WORLD_SIZE": "5"}, "2 of 5 processes on this machine: start equally many"),
        (0, {}, "--devices 0: at least one"),
    ],
)
def test_other_numbers_than_torchruns_are_refused(
    devices: int | None, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(RobustCSCError, match=sentence):
        Processes.asked(devices, environment)


def test_a_request_is_refused_before_torch_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RobustCSCError, match="leave --devices out"):
        TrainingRequest(model="sdnet-digits", devices=3)


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    Hardware(processes=Processes(here=2)).processes.check_room("cpu")
    with pytest.raises(RobustCSCError, match=r"3 processes need a processor each, .* has 2: .*--devices 2"):
        Processes(here=3).check_room("cpu")
    with pytest.raises(RobustCSCError, match=r"2 processes need a GPU each, and this machine has 1: .*--devices 1\.$"):
        Processes(here=2).check_room("cuda")


@pytest.mark.parametrize(("count", "processes"), [(8, 2), (33, 4), (5, 5)])
def test_every_image_of_a_batch_is_in_one_share(count: int, processes: int) -> None:
    rows = torch.arange(count)
    shares = [Share(count, rank, processes).of(rows) for rank in range(processes)]
    assert sorted(torch.cat(shares).tolist()) == rows.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_image_is_augmented_alike_whichever_process_has_it() -> None:
    images = torch.rand(7, 3, 6, 6, generator=torch.Generator().manual_seed(1))

    def augmented(share: Share) -> torch.Tensor:
        generator = torch.Generator().manual_seed(2)
        cropped = crop_and_flip(share.of(images), 2, True, generator, share)
        return add_gaussian_noise(cropped, 0.2, generator, share)

    whole = augmented(Share(7))
    for rank in range(3):
        share = Share(7, rank, 3)
        assert torch.equal(augmented(share), share.of(whole))
    assert not torch.equal(whole, images)


def start(*words: str, processes: int = 0, cwd: Path = ROOT) -> list[subprocess.Popen[str]]:
    """Starts a program once, or as torchrun does in several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    torchrun = {"TORCHELASTIC_RUN_ID": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torchrun |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    ranks = [{**torchrun, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)] or [{}]
    return [
        subprocess.Popen(
            [sys.executable, *words],
            env={**environment, **rank},
            cwd=cwd,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in ranks
    ]


def ended(started: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Returns exit code, output and standard error of each process."""
    told = [(*process.communicate(timeout=300), process.returncode) for process in started]
    return [(code, out, err) for out, err, code in told]


def train_words(*more: str) -> list[str]:
    return ["-m", "robustcsc.cli.main", "train", "sdnet-digits", "--train-images", "200", "--run", "r", *more]


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """In double precision they differ by rounding: 2e-13 at most, for the fixed point."""
    assert [it[0] for it in ended(start("-m", "tests.training.together", str(tmp_path), processes=2))] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name in SCENARIOS:
        one = outcome(name, Hardware())
        assert first[name]["history"] == second[name]["history"]
        for found, expected in zip(first[name]["history"], one["history"], strict=True):
            assert found == pytest.approx(expected, rel=1e-6)
        torch.testing.assert_close(second[name]["weights"], first[name]["weights"], rtol=0, atol=0)
        torch.testing.assert_close(first[name]["weights"], one["weights"], rtol=1e-10, atol=1e-11)


@pytest.mark.slow
def test_one_process_resumes_what_two_began_and_only_the_first_one_tells(tmp_path: Path) -> None:
    whole = ended(start(*train_words("--epochs", "2"), cwd=tmp_path / made(tmp_path, "whole")))[0]
    place = tmp_path / made(tmp_path, "stopped")
    (process,) = start(*train_words("--epochs", "2", "--devices", "2", "--device", "cpu"), cwd=place)
    wait_for(place / "runs/r/training.pt")
    process.send_signal(signal.SIGTERM)
    ((code, out, err),) = ended([process])
    assert (code, out) == (143, "")
    assert err.count("Training was interrupted") == err.count("Terminated; what was finished is kept.") == 1
    resumed = ended(start(*train_words("--epochs", "2", "--resume"), cwd=place))[0]
    assert (whole[0], resumed[0]) == (0, 0)
    one, two = (checkpoint.load(tmp_path / name / "runs/r/weights.safetensors") for name in ("whole", "stopped"))
    assert two.training["final_epoch"]["loss"] == pytest.approx(one.training["final_epoch"]["loss"], rel=1e-2)
    assert two.training["heldout"] == one.training["heldout"]


def test_torchrun_reads_the_command_of_the_page_as_it_is_typed() -> None:
    """Without ``--`` it takes ``--run``, which comes behind the program, for the beginning of an option of its own."""
    from torch.distributed.run import get_args_parser

    page = (ROOT / "docs/howto/several-machines.md").read_text()
    (typed,) = re.findall("^torchrun (.*)$", page, re.MULTILINE)
    read = get_args_parser().parse_args(shlex.split(typed))
    assert (read.nnodes, read.no_python, read.training_script) == ("2", True, "robustcsc")
    assert read.training_script_args[0] == "train" and read.training_script_args[-2:] == ["--run", "sdnet18"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--data", "imagefolder", "--root", "nowhere"), "Error: nowhere is not a folder"),
        (("--learning-rate", "1e30"), "Error: The loss of epoch 1 is not finite"),
    ],
)
@pytest.mark.parametrize("starter", ["--devices", "torchrun"])
def test_an_error_ends_all_processes_with_one_sentence(
    words: tuple[str, ...], sentence: str, starter: str, tmp_path: Path
) -> None:
    several = ("--devices", "2", "--device", "cpu") if starter == "--devices" else ("--device", "cpu")
    told = ended(start(*train_words(*words, *several), processes=2 * (starter == "torchrun"), cwd=tmp_path))
    assert {code for code, _, _ in told} == {2}
    errors = "".join(err for _, _, err in told)
    assert errors.startswith(sentence)
    assert errors.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_takes_the_other_with_it(killed: int, tmp_path: Path) -> None:
    started = start(*train_words("--epochs", "500", "--device", "cpu"), processes=2, cwd=tmp_path)
    wait_for(tmp_path / "runs/r/training.pt")
    started[killed].kill()
    told = ended(started)
    assert told[killed][0] == -signal.SIGKILL
    assert told[1 - killed][0] == 2
    sentence = "Error: A process of this training was killed"
    assert told[1 - killed][2].count(sentence) == 1 - (killed == 0)


def made(place: Path, name: str) -> str:
    (place / name).mkdir()
    return name


def wait_for(path: Path) -> None:
    """Returns once a file is there."""
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.2)
    raise AssertionError(f"{path} was not made")
