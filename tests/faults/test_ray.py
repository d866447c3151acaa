"""A sweep on a Ray cluster that loses a worker, a node or its driver: the results of one process, to the bit."""

import os
import random
import select
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import FULL, end, records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install -e '.[ray]'"),
]

#: Seconds in which a cluster or a command has to be through, on a busy machine.
PATIENCE = 300
TIMES = 10 if FULL else 1
SWEEP = (
    "sweep --run sdnet-digits --corruptions gaussian_noise,fog --severities 1,2,3,4,5 --limit 60 --threads 1 "
    "--lambda train,adaptive,adaptive-image,oracle"
)
#: Budgets that break some images, and leave some to Square.
ATTACK = f"attack --run sdnet-digits --suite standard --epsilon 16/255 --threads 1 --limit {20 if FULL else 4}"
FIT = "fit-lambda --run sdnet-digits --limit 10 --grid 0.1,0.5 --noise gaussian"


class Process:
    """A program of this folder that is talked to by lines."""

    def __init__(self, place: Path, program: str, *words: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "ROBUSTCSC_CACHE": "off"}
        self.errors = place / "errors.txt"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name(program)), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=place,
            )

    def heard(self) -> str:
        """Returns the next line, `""` if none comes."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            return ""
        return self.process.stdout.readline().strip()

    def told(self, line: str) -> None:
        """Sends a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def ended(self) -> int:
        """Returns the exit code, once there is one."""
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, str]]:
    """A cluster and its address."""
    started = Process(tmp_path_factory.mktemp("cluster"), "ray_cluster.py")
    address = started.heard()
    if not address:
        started.process.kill()
        started.ended()  # or its open pipes would be a warning, which fails the whole session
        pytest.skip(f"Ray does not start here: {started.errors.read_text()[-500:]}")
    yield started, address
    started.ended()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has a lambda fit, and what one process measures from there."""
    place = tmp_path_factory.mktemp("one-process")
    for commands in (FIT, f"{SWEEP} then {ATTACK}"):
        done = Process(place, "ray_driving.py", "0 nothing", *commands.split())
        assert done.ended() == 0, done.errors.read_text()
        if commands == FIT:
            subprocess.run(["cp", "-r", place / "runs", place / "before"], check=True)
    return place


def begun(fitted: Path, place: Path) -> Path:
    """Returns a new folder with the run as it was before anything was measured."""
    place.mkdir()
    subprocess.run(["cp", "-r", fitted / "before", place / "runs"], check=True)
    return place


def driving(place: Path, disturbance: str, command: str, address: str) -> Process:
    return Process(place, "ray_driving.py", disturbance, *command.split(), "--engine", "ray", "--address", address)


def moments(name: str) -> list[int]:
    """Returns after how many jobs something happens, of 11."""
    chance = random.Random(name)
    return [chance.randint(2, 6) for _ in range(TIMES)]


def measured(place: Path, images: int) -> list[dict[str, Any]]:
    """Returns the records of a folder on so many images."""
    (found,) = records(place).values()
    return [it for it in found if it["measurement"]["images"]["count"] == images]


def test_attacks_with_randomness_are_those_of_one_process(
    cluster: tuple[Process, str], fitted: Path, tmp_path: Path
) -> None:
    place = begun(fitted, tmp_path / "place")
    done = driving(place, "0 nothing", ATTACK, cluster[1])
    assert done.ended() == 0, done.errors.read_text()
    found = measured(place, 20 if FULL else 4)
    assert found == measured(fitted, 20 if FULL else 4)
    made = [it["measurement"]["perturbation"] for it in found]
    assert {it["steps"][-1]["name"] for it in made if "steps" in it} == {"pgd", "apgd", "apgd-t", "square"}


def test_a_killed_worker_loses_only_its_job(cluster: tuple[Process, str], fitted: Path, tmp_path: Path) -> None:
    for number, moment in enumerate(moments("worker")):
        place = begun(fitted, tmp_path / str(number))
        done = driving(place, f"{moment} worker", SWEEP, cluster[1])
        assert done.ended() == 0, done.errors.read_text()
        assert " died; what it measured is measured by another one." in done.errors.read_text()
        assert measured(place, 60) == measured(fitted, 60)


def test_a_driver_that_is_interrupted_and_one_that_is_killed_go_on_where_they_were(
    cluster: tuple[Process, str], fitted: Path, tmp_path: Path
) -> None:
    for number, moment in enumerate(moments("driver")):
        place = begun(fitted, tmp_path / str(number))
        stopped = driving(place, "2 interrupt", SWEEP, cluster[1])
        workers = [*map(int, stopped.heard().split())]
        assert stopped.ended() == 130, stopped.errors.read_text()
        assert "Interrupted; what was finished is kept." in stopped.errors.read_text()
        assert len(workers) == 2 and end(workers)
        kept = len(measured(place, 60))
        assert driving(place, f"{moment} driver", SWEEP, cluster[1]).ended() == -9
        assert 0 < kept < len(measured(place, 60)) < len(measured(fitted, 60))
        again = driving(place, "0 nothing", SWEEP, cluster[1])
        assert again.ended() == 0, again.errors.read_text()
        assert measured(place, 60) == measured(fitted, 60)


def test_a_lost_node_loses_only_its_jobs(cluster: tuple[Process, str], fitted: Path, tmp_path: Path) -> None:
    for number, moment in enumerate(moments("node")):
        place = begun(fitted, tmp_path / str(number))
        done = driving(place, f"{moment} 127.0.0.3", SWEEP, cluster[1])
        assert done.heard() == "now", done.errors.read_text()
        cluster[0].told("remove")
        assert cluster[0].heard() == "remove", cluster[0].errors.read_text()
        done.told("gone")
        assert done.ended() == 0, done.errors.read_text()
        assert "The worker on node 127.0.0.3 died; what it" in done.errors.read_text()
        assert measured(place, 60) == measured(fitted, 60)
        cluster[0].told("add")
        assert cluster[0].heard() == "add", cluster[0].errors.read_text()
