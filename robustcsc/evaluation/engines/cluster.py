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
_LAST_PORT = 2**16 - 1
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
            check_answers(str(self.chosen_address), "--address" if self.address else _ADDRESS)

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
        if not room:
            lower = ", or lower --gpus-per-worker" if gpus else ""
            raise EngineError(f"No node of the Ray cluster has room for a worker with 1 CPU{gpus}: add nodes{lower}.")
        count = "1 worker" if room == 1 else f"{room} workers"
        raise EngineError(
            f"The nodes of the Ray cluster have room for {count} with 1 CPU{gpus} each, not for {most}: choose "
            f"--workers {room} at most."
        )


def check_answers(address: str, option: str = "--address") -> None:
    """Checks that something that may be the head node of a Ray cluster answers at an address.

    Args:
        address: What was typed.
        option: Where it was typed.

    Raises:
        EngineError: The address is no ``HOST:PORT``, or nothing like Ray answers there.
    """
    host, _, port = address.rpartition(":")
    number = int(port) if port.isdecimal() and len(port) <= len(str(_LAST_PORT)) else _LAST_PORT + 1
    if not host or "/" in host or number > _LAST_PORT:  # of which a socket would take the remainder
        raise EngineError(
            f"{option} {address} is no address of a Ray cluster: write HOST:PORT of its head node, such as "
            f"10.0.0.1:6379, or {_THIS_MACHINE} on one of its nodes."
        )
    try:
        with socket.create_connection((host.strip("[]"), number), PATIENCE) as connection:
            connection.sendall(_PREFACE)
            answer = connection.recv(9)
    except (OSError, UnicodeError) as error:  # the second of a host such as a..b
        reason = error.strerror or error if isinstance(error, OSError) else "no host can be called so"
        raise EngineError(
            f"Nobody answers at {option} {address} ({reason}): is the Ray cluster up, and is this HOST:PORT of its "
            "head node, as `ray start --head` prints it?"
        ) from error
    if answer[3:4] != bytes([_SETTINGS]):
        raise EngineError(
            f"What answers at {option} {address} is no Ray cluster: write HOST:PORT of its head node, as `ray start "
            "--head` prints it."
        )
