"""Which Ray cluster is to measure, and whether it can be reached. Imports neither torch nor Ray."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from robustcsc.errors import EngineError

#: Seconds in which something has to answer at an address.
PATIENCE = 5.0
#: What a client of HTTP/2 says first (RFC 9113, sections 3.4 and 6.5), and the type of the frame that a server answers
#: with: gRPC, which Ray speaks, is HTTP/2.
_PREFACE, _SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)), 4
#: The environment variable in which Ray looks for an address, and what it calls the cluster of this machine.
_ADDRESS, _THIS_MACHINE = "RAY_ADDRESS", "auto"


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A Ray cluster to measure on.

    Attributes:
        address: ``"HOST:PORT"`` of its head node, or ``"auto"`` for the one that this machine is a node of. By default
            that of the environment's ``RAY_ADDRESS``, or else a cluster of this machine alone for as long as it takes.
        gpus_per_worker: Share of a GPU that each worker takes, 0 to 1; with 0 it computes on one CPU. By default 1 if
            the model is on a GPU here, else 0.

    Raises:
        EngineError: The share is out of range.

    Examples:
        >>> import robustcsc as rc
        >>> rc.Measuring(ray=rc.RayCluster(address="10.0.0.1:6379", gpus_per_worker=1)).ray.gpus_per_worker
        1
    """

    address: str | None = None
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= (self.gpus_per_worker or 0) <= 1:
            raise EngineError(
                f"--gpus-per-worker is {self.gpus_per_worker:g}: a worker computes on one GPU, so it takes 1, a "
                "part of one such as 0.5, or 0."
            )

    @property
    def chosen_address(self) -> str | None:
        """The address, or that of the environment; ``None`` for a cluster of this machine alone."""
        return self.address or os.environ.get(_ADDRESS) or None

    def check(self) -> None:
        """Checks that Ray is installed here, and that what may be the head node of a cluster answers.

        Raises:
            EngineError: It is not, or nothing does.
        """
        if find_spec("ray") is None:
            raise EngineError('--engine ray needs Ray, which is not installed: type pip install "robustcsc[ray]".')
        if self.chosen_address not in (None, _THIS_MACHINE):
            check_answers(str(self.chosen_address))

    def room(self, ray: Any) -> int:
        """Returns how many workers the nodes that are up have room for, if nobody else is there.

        Args:
            ray: The module, or what has its function `nodes`.
        """
        room = 0
        for node in ray.nodes():
            cpus, gpus = (int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
            if node["Alive"]:
                room += min(cpus, gpus * int(1 / self.gpus_per_worker + 1e-6)) if self.gpus_per_worker else cpus
        return room

    def slots(self, ray: Any, most: int | None) -> int:
        """Returns how many workers may start on a cluster that this process is connected with.

        Args:
            ray: As for `room`.
            most: How many are asked for; as many as there is room for if ``None``.

        Raises:
            EngineError: The nodes have too little room.
        """
        room = self.room(ray)
        if room >= (most or 1):
            return most or room
        gpus = f" and {self.gpus_per_worker:g} GPU" if self.gpus_per_worker else ""
        count = "1 worker" if room == 1 else f"{room or 'no'} workers"
        advice = f"choose --workers {room} at most" if room else "add nodes, or lower --gpus-per-worker"
        raise EngineError(
            f"The nodes of the Ray cluster have room for {count} with 1 CPU{gpus} each, not for {most or 1}: {advice}."
        )


def check_answers(address: str) -> None:
    """Checks that something that may be the head node of a Ray cluster answers at an address.

    Raises:
        EngineError: The address is no ``HOST:PORT``, or nothing like Ray answers there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise EngineError(
            f"--address {address} is no address of a Ray cluster: write HOST:PORT of its head node, such as "
            f"10.0.0.1:6379, or {_THIS_MACHINE} on one of its nodes."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as connection:
            connection.sendall(_PREFACE)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"Nobody answers at --address {address} ({error}): is the Ray cluster up, and is this HOST:PORT of its "
            "head node, as `ray start --head` prints it?"
        ) from error
    if answer[3:4] != bytes([_SETTINGS]):
        raise EngineError(
            f"What answers at --address {address} is no Ray cluster: write HOST:PORT of its head node, as `ray start "
            "--head` prints it."
        )
