"""What can be said of a Ray cluster without one: who answers at an address, what room there is, what is sent there."""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from torch import nn

import robustcsc
from robustcsc.data import ImageSet
from robustcsc.errors import DataError, EngineError
from robustcsc.evaluation.engines.cluster import RayCluster, check_answers
from robustcsc.evaluation.engines.connection import _own_cluster
from robustcsc.evaluation.engines.ray import RayEngine, own_modules
from robustcsc.evaluation.jobs import Answer, Job, Lost, Outcome
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Planner
from robustcsc.evaluation.sources import Inputs, images_fact
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.progress import silent

#: The beginning of what a server of gRPC says first: a frame of 24 bytes, type 4, flags and stream 0.
SETTINGS = bytes((0, 0, 24, 4, 0, 0, 0, 0, 0))


@contextmanager
def server(says: bytes) -> Iterator[str]:
    """Listens at an address and says something to the one who calls."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(100)
                connection.sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_a_server_of_grpc_answers() -> None:
    with server(SETTINGS + bytes(24)) as address:
        check_answers(address)


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_another_server_is_no_cluster(says: bytes) -> None:
    with server(says) as address, pytest.raises(EngineError, match=f"answers at --address {address} is no Ray cluster"):
        check_answers(address)


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(EngineError, match=f"Nobody answers at --address 127.0.0.1:{port} "):
        check_answers(f"127.0.0.1:{port}")


def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustcsc.evaluation.engines.cluster.PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(EngineError, match="Nobody answers"):
            check_answers(address)


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "ray://head:10001", "head:port", "head:71915"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(EngineError, match=f"--address {address} is no address .* write HOST:PORT"):
        check_answers(address)


def test_a_host_that_no_name_can_be_is_told_like_one_that_is_not_there() -> None:
    with pytest.raises(EngineError, match=r"Nobody answers at --address a\.\.b:6379 \(no host can be called so\)"):
        check_answers("a..b:6379")


def test_an_address_of_the_environment_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(EngineError, match=r"RAY_ADDRESS http://127\.0\.0\.1:8265 is no address of a Ray cluster"):
        RayCluster().check()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustcsc.evaluation.engines.cluster.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r'pip install "robustcsc\[ray\]"'):
        RayCluster().check()


class _Nodes(ModuleType):
    """A cluster of one node with 16 CPUs and 2 GPUs, one with 4 CPUs, and one that is gone."""

    def nodes(self) -> list[dict[str, object]]:
        return [
            {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 2.0, "memory": 1e10}},
            {"Alive": True, "Resources": {"CPU": 4.0}},
            {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
        ]


@pytest.mark.parametrize(("gpus", "room"), [(0, 20), (1, 2), (0.5, 4), (0.4, 4), (0.1, 16)])
def test_workers_have_room_where_a_node_has_all_they_take(gpus: float, room: int) -> None:
    assert RayCluster(gpus_per_worker=gpus).room(_Nodes("ray")) == room


@pytest.mark.parametrize(
    ("cluster", "most", "words"),
    [
        (RayCluster(), 21, "room for 20 workers with 1 CPU each, not for 21: choose --workers 20 at most"),
        (RayCluster(gpus_per_worker=1), 3, "room for 2 workers with 1 CPU and 1 GPU each, not for 3: choose"),
    ],
)
def test_more_workers_than_there_is_room_for_are_refused(cluster: RayCluster, most: int, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        cluster.slots(_Nodes("ray"), most)


def test_where_no_node_has_room_for_a_worker_no_number_is_advised() -> None:
    nodes = SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    with pytest.raises(EngineError, match=r"has room for a worker with 1 CPU and 1 GPU: add nodes, or lower --gpus"):
        RayCluster(gpus_per_worker=1).slots(nodes, None)


def test_without_a_number_there_are_as_many_workers_as_there_is_room_for() -> None:
    assert RayCluster().slots(_Nodes("ray"), None) == 20
    assert RayCluster().slots(_Nodes("ray"), 3) == 3


def test_clusters_that_one_process_starts_have_one_token_and_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    seen = []
    for _ in range(2):  # Ray reads it for the first one only
        with _own_cluster() as scratch:
            seen.append(os.environ["RAY_AUTH_TOKEN"])
        assert "RAY_AUTH_TOKEN" not in os.environ and not Path(scratch).exists()
    assert seen[0] == seen[1] and len(seen[0]) == 64


@pytest.mark.parametrize("share", [-0.5, 2])
def test_a_worker_takes_one_gpu_at_most(share: float) -> None:
    with pytest.raises(EngineError, match="a worker computes on one GPU"):
        RayCluster(gpus_per_worker=share)


def test_only_the_users_own_modules_are_sent(
    model: LoadedModel, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = Inputs(images=images)
    assert own_modules(Evaluator(model=model, inputs=inputs)) == []
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").touch()
    (tmp_path / "theirs" / "nets.py").write_text("from torch import nn\nclass Net(nn.Sequential): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    from theirs import nets  # type: ignore[import-not-found]  # written above

    theirs = replace(model, model=nn.Sequential(nets.Net(model.model), nn.Flatten()))
    assert own_modules(Evaluator(model=theirs, inputs=inputs)) == [sys.modules["theirs"]]


class _Died(Exception):
    """What Ray raises for an actor that is gone."""


class _Ray(_Nodes):
    """Ray in this process: what actors are asked is done when it is waited for.

    Attributes:
        nodes_of: The addresses of the nodes that actors start on, in turn; `None` is one that dies as it starts.
        mortal: How many jobs a worker dies of, all together.
        versions: The versions that a node has, where they are not those of this one.
    """

    class exceptions:
        RayActorError, RayError = _Died, _Died

    def __init__(self, *nodes_of: str | None, mortal: int = 0, versions: dict[str, str] | None = None) -> None:
        super().__init__("ray")
        self.nodes_of, self.mortal, self.versions = iter(nodes_of), mortal, versions or {}
        self.killed = 0

    def put(self, content: bytes) -> bytes:
        return content

    def remote(self, **_: object) -> Callable[[type], Any]:
        def made(kind: type) -> Any:
            return SimpleNamespace(remote=lambda: self._actor(kind(), next(self.nodes_of)))

        return made

    def _actor(self, worker: Any, node: str | None) -> Any:
        def greeted() -> dict[str, str]:
            if node is None:
                raise _Died
            return {**worker.versions(), "node": node, **self.versions}

        def measured(job: Job) -> object:
            if self.mortal:
                self.mortal -= 1
                raise _Died
            return worker.measure(job)

        doing = {"greet": greeted, "open": worker.open, "measure": measured}
        return SimpleNamespace(**{name: SimpleNamespace(remote=partial(partial, it)) for name, it in doing.items()})

    def wait(self, asked: list[Any], timeout: float, num_returns: int = 1) -> tuple[list[Any], list[Any]]:
        return asked[:num_returns], asked[num_returns:]

    def get(self, asked: Any) -> Any:
        return asked()

    def kill(self, actor: Any) -> None:
        self.killed += 1


@contextmanager
def engine_on(
    ray: _Ray, monkeypatch: pytest.MonkeyPatch, model: LoadedModel, images: ImageSet
) -> Iterator[tuple[RayEngine, list[str]]]:
    """Yields an engine of two workers, and the notes that it makes."""
    monkeypatch.setattr("robustcsc.evaluation.engines.ray.connected", lambda *_: nullcontext(ray))
    monkeypatch.setattr(RayCluster, "check", lambda _: None)
    notes: list[str] = []
    evaluator = Evaluator(model=model, inputs=Inputs(images=images))
    with closing(RayEngine(cluster=RayCluster(), evaluator=evaluator, most=2, note=notes.append)) as engine:
        yield engine, notes


@pytest.fixture
def jobs(model: LoadedModel, images: ImageSet) -> list[Job]:
    """Three jobs."""
    planner = Planner(model=model.facts, images=images_fact(images), batch_size=250)
    return [Job(cells=planner.clean([TrainingLambda()])) for _ in range(3)]


def carried_out(engine: RayEngine, jobs: list[Job]) -> list[tuple[Job, Outcome]]:
    """Submits jobs and waits for what comes of as many."""
    for job in jobs:
        engine.submit(job, silent)
    found: list[tuple[Job, Outcome]] = []
    while len(found) < len(jobs):
        found += engine.next()
    return found


def test_jobs_are_measured_by_as_many_workers_as_there_is_work_for(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, model: LoadedModel, images: ImageSet
) -> None:
    ray = _Ray("10.0.0.1", "10.0.0.2")
    with engine_on(ray, monkeypatch, model, images) as (engine, _):
        ((_, one),) = carried_out(engine, jobs[:1])
        assert (len(engine._workers), engine.slots) == (1, 2)
        found = carried_out(engine, jobs)
        assert {job for job, _ in found} == {*jobs} and len(engine._workers) == 2
    here = Evaluator(model=model, inputs=Inputs(images=images)).measure(jobs[0])
    assert isinstance(one, Answer) and one.records[0].outcomes == here.records[0].outcomes
    assert ray.killed == 2


def test_the_job_of_a_dead_worker_is_lost_and_another_takes_its_place(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, model: LoadedModel, images: ImageSet
) -> None:
    ray = _Ray("10.0.0.1", "10.0.0.2", "10.0.0.3", mortal=1)
    with engine_on(ray, monkeypatch, model, images) as (engine, notes):
        lost, *found = carried_out(engine, jobs)
        assert isinstance(lost[1], Lost) and all(isinstance(it, Answer) for _, it in found)
        assert isinstance(carried_out(engine, [lost[0]])[0][1], Answer)
    assert notes == [f"T{lost[1].words[1:]}; what it measured is measured by another one."]
    assert lost[1].words in ("the worker on node 10.0.0.1 died", "the worker on node 10.0.0.2 died")


def test_workers_that_die_as_they_start_are_tried_three_times(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, model: LoadedModel, images: ImageSet
) -> None:
    with engine_on(_Ray("10.0.0.1", None), monkeypatch, model, images) as (engine, _):
        carried_out(engine, jobs[:1])
    ray = _Ray(*[None] * 9)
    with (
        engine_on(ray, monkeypatch, model, images) as (engine, _),
        pytest.raises(EngineError, match=r"^3 workers in a row died as they started, the last was a worker"),
    ):
        carried_out(engine, jobs)


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        ({"robustcsc": "0.0.9"}, f"has robustcsc 0.0.9, and this machine {robustcsc.__version__}: install the same"),
        ({"torch": ""}, "has no torch, and this machine "),
    ],
)
def test_a_node_with_another_version_is_refused(
    versions: dict[str, str],
    words: str,
    jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
    model: LoadedModel,
    images: ImageSet,
) -> None:
    ray = _Ray("10.0.0.1", "10.0.0.2", versions=versions)
    with (
        engine_on(ray, monkeypatch, model, images) as (engine, _),
        pytest.raises(EngineError, match=f"^Node 10.0.0.1 of the Ray cluster {words}"),
    ):
        carried_out(engine, jobs)


def test_a_node_with_other_images_is_named(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, model: LoadedModel, images: ImageSet
) -> None:
    def missing(images: ImageSet, fingerprint: str) -> None:
        raise DataError("There is no folder /data.")

    monkeypatch.setattr("robustcsc.evaluation.packing.check_images", missing)
    with (
        engine_on(_Ray("10.0.0.1", "10.0.0.2"), monkeypatch, model, images) as (engine, _),
        pytest.raises(EngineError, match=r"^Node 10.0.0.1 of the Ray cluster: There is no folder /data.$"),
    ):
        carried_out(engine, jobs)
