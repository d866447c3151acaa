"""Several processes that train together, one per device: which of them this one is, and how all end when one fails.

They are started by Lightning Fabric (`--devices`) or by torchrun, and each runs the whole command: the first one
writes and prints, the others compute. An error ends all of them, and the first process that has one says it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from robustcsc.errors import RobustCSCError

if TYPE_CHECKING:  # mistakes are told before torch is imported
    from lightning_fabric import Fabric
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

#: How long processes wait for each other: reading all images may take hours, and who died is noticed at once.
PATIENCE = timedelta(days=1)
#: Seconds between two looks at whether the process that started this one still runs, and until the end is forced.
_LOOK, _GRACE = 0.5, 20.0


class EndedElsewhereError(RobustCSCError):
    """Another of the processes that train together has failed, and says why."""


@dataclass(frozen=True)
class Processes:
    """How many processes train together.

    Attributes:
        here: How many there are on this machine, one per device.
        machines: Number of machines, with equally many each.
        torchrun: Whether torchrun has started them.

    Raises:
        RobustCSCError: There are fewer than one.
    """

    here: int = 1
    machines: int = 1
    torchrun: bool = False

    def __post_init__(self) -> None:
        if self.here < 1:
            raise RobustCSCError(f"--devices {self.here}: at least one process trains.")

    @classmethod
    def asked(cls, devices: int | None, environment: Mapping[str, str] = os.environ) -> Processes:
        """Returns the processes that torchrun has started, or else that `devices` asks for, one if ``None``.

        Raises:
            RobustCSCError: torchrun has started another number of them than asked for, or not equally many on each
                machine.

        Examples:
            >>> Processes.asked(2, {})
            Processes(here=2, machines=1, torchrun=False)
        """
        if "TORCHELASTIC_RUN_ID" not in environment:
            return cls(1 if devices is None else devices)
        here, world = int(environment["LOCAL_WORLD_SIZE"]), int(environment["WORLD_SIZE"])
        if devices not in (None, here):
            raise RobustCSCError(
                f"torchrun has started {here} of these processes on this machine, and --devices says {devices}: leave "
                f"--devices out, or start torchrun with --nproc-per-node {devices}."
            )
        if world % here:
            raise RobustCSCError(
                f"torchrun has started {here} of {world} processes on this machine: start equally many on each, with "
                "the same --nproc-per-node."
            )
        return cls(here, world // here, torchrun=True)

    def check_room(self, device: str) -> None:
        """Refuses more processes than there are devices.

        Args:
            device: ``"cpu"`` or ``"cuda"``.

        Raises:
            RobustCSCError: There are too few GPUs, or processors, on this machine.
        """
        import torch

        room = torch.cuda.device_count() if device == "cuda" else os.cpu_count() or 1
        if self.here > room:
            kind = "GPU" if device == "cuda" else "processor"
            raise RobustCSCError(
                f"{self.here} processes need a {kind} each, and this machine has {room}: choose --devices {room}"
                + (" or fewer." if room > 1 else ".")
            )


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Ends the block in all processes of a launched Fabric if it fails in one of them.

    Raises:
        EndedElsewhereError: Another process failed before.
        RobustCSCError: Another process has gone without a word.
    """
    if fabric.world_size == 1:
        yield
        return
    from torch import distributed
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    ended = threading.Event()
    if fabric.local_rank or "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=_end_with, args=(os.getppid(), ended), daemon=True).start()
    address = os.environ["MASTER_ADDR"]
    store = TCPStore(address, 0, is_master=True) if fabric.global_rank == 0 else None
    port = fabric.broadcast(store.port if store else 0)
    store = store or TCPStore(address, port, is_master=False)
    fabric.barrier()  # the first process keeps the store, and may fail at once
    try:
        with warnings.catch_warnings():  # of two names for one order in memory, where a layer has one channel
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield
        distributed.destroy_process_group()
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        how, rank = _first_end(store, "stopped" if stopped else "failed", fabric.global_rank)
        if how == "stopped" and not stopped:
            raise KeyboardInterrupt from error
        if how == "failed" and rank != fabric.global_rank:
            raise EndedElsewhereError("Another process of this training has failed.") from error
        if how == "failed" and _is_of_connection(error):
            raise RobustCSCError(
                "A process of this training was killed, or its machine cannot be reached: rerun the command with "
                "--resume to go on from the last epoch."
            ) from error
        raise
    finally:
        ended.set()


def _first_end(store: TCPStore, how: str, rank: int) -> tuple[str, int]:
    """Returns how the first process that did not finish ended, and its rank; this one may be it."""
    store.set_timeout(timedelta(seconds=5))
    try:
        told = store.compare_set("end", "", f"{how} {rank}").decode()
    except RuntimeError:  # the first process keeps the store, and has gone
        told = "failed 0"
    first, number = told.split()
    return first, int(number)


def _is_of_connection(error: BaseException) -> bool:
    """Tells whether an error only says that another process does not answer."""
    from torch import distributed

    return isinstance(error, distributed.DistError) or (type(error) is RuntimeError and "gloo" in str(error))


def _end_with(parent: int, ended: threading.Event) -> None:
    """Ends this process if the one that started it is gone, also if it waits for a GPU and answers no signal."""
    while not ended.wait(_LOOK):
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_GRACE)
            os._exit(128 + signal.SIGTERM)
