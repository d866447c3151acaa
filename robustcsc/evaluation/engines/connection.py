"""The connection with a Ray cluster: quiet, and without a trace once it ends."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from robustcsc.errors import EngineError

#: Environment variables of Ray: a token, and how often it tries to connect.
_TOKEN, _TRIES = "RAY_AUTH_TOKEN", "RAY_gcs_server_port_wait_time_s"


@contextmanager
def connected(address: str | None, modules: Sequence[ModuleType]) -> Iterator[Any]:
    """Connects this process with a cluster, or starts one, and leaves it, or ends it, after the block.

    Args:
        address: ``"HOST:PORT"`` of its head node, ``"auto"`` for the one of this machine, ``None`` to start one.
        modules: What is sent to its nodes, so that it can be imported there.

    Yields:
        The module of Ray.

    Raises:
        EngineError: The cluster does not let this process in.
    """
    import ray
    import ray._private.worker

    if ray.is_initialized():  # by the user, who ends it
        yield ray
        return
    # Ray prints on standard output what raylets tell of dead workers, which the engine tells in a sentence.
    vars(ray._private.worker)["_worker_logs_enabled"] = False
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    settings["runtime_env"] = {"py_modules": modules} if modules else None
    with ExitStack() as stack:
        if address is not None:
            settings["address"] = address
            os.environ.setdefault(_TRIES, "2")  # instead of 20 s, where the token is a wrong one
        else:
            scratch = stack.enter_context(_own_cluster())
            settings |= {"address": "local", "include_dashboard": False, "_temp_dir": scratch}
        stack.callback(_silent()(ray.shutdown))
        with _silent(), _signals_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _initialised(ray, address, settings)
        yield ray


@cache
def _own_token() -> str:
    """Returns the token of all clusters that this process starts: Ray reads it once, and not for each of them."""
    return secrets.token_hex(32)


@contextmanager
def _own_cluster() -> Iterator[str]:
    """Yields a folder for the files of a cluster of this command, which nobody without its token gets into."""
    set_here = _TOKEN not in os.environ
    os.environ.setdefault(_TOKEN, _own_token())  # or Ray would leave one in the home folder
    scratch = tempfile.mkdtemp(prefix="robustcsc-ray-", dir="/tmp")  # short: paths of sockets may have 107 bytes
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if set_here:
            del os.environ[_TOKEN]


def _initialised(ray: Any, address: str | None, settings: Mapping[str, Any]) -> None:
    """Calls ``ray.init``, and makes sentences of its errors.

    Raises:
        EngineError: The cluster does not let this process in, or has another version of Ray or Python.
    """
    try:
        ray.init(**settings)
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise EngineError(
            f"The Ray cluster at {address} does not let this process in: run the command on a machine that is one of "
            "its nodes, and if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to its file."
        ) from error
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"Ray does not start: {' '.join(str(error).split())}") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps from standard error what Ray's C++ code writes there of its own, without asking Python."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(nowhere)
        os.close(before)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Gives signals back who answered them before the block: Ray has answers of its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
