"""Ctrl-C and SIGTERM, which end a command alike: with one sentence, and what was finished is kept."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

#: What is said of a signal.
SENTENCES = {
    signal.SIGINT: "Interrupted; what was finished is kept.",
    signal.SIGTERM: "Terminated; what was finished is kept.",
}


def is_first_process() -> bool:
    """Tells whether this process prints: of those that train together only the first one does."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


class Stopped(KeyboardInterrupt):
    """A signal came. Python ends itself with SIGINT if its own exception, not one of this class, ever left `exec`."""


@dataclass
class Stop:
    """The signal that came first, if one did."""

    number: signal.Signals | None = None

    @property
    def code(self) -> int:
        """The exit code after it; that after Ctrl-C if there was none, as Python may raise its exception itself."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def sentence(self) -> str:
        """What is told of it."""
        return SENTENCES[self.number or signal.SIGINT]


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Turns signals into `Stopped` while the block runs; after SIGTERM no second one disturbs cleaning up.

    C code that imports modules may turn that into another exception: `Stop.number` tells.
    """
    stop = Stop()

    def answer(number: int, _: FrameType | None) -> None:
        if stop.number is signal.SIGTERM is signal.Signals(number):
            return
        stop.number = stop.number or signal.Signals(number)
        raise Stopped

    with _answered(answer):
        yield stop


def stop_at_once() -> None:
    """Lets signals end the process from now on, where nothing else does: nothing has begun that is to be kept."""
    for number in _open_signals():
        signal.signal(number, _end)


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """Lets signals end the process while the block runs, which imports: nothing has begun that is to be kept.

    An exception would not do: modules that are imported catch any.
    """
    with _answered(_end):
        yield


def _end(number: int, _: FrameType | None) -> None:
    with suppress(OSError):
        if is_first_process():
            os.write(2, f"{SENTENCES[signal.Signals(number)]}\n".encode())
    os._exit(128 + number)


def stop_no_more() -> None:
    """Ignores signals from now on: all is done, and Python has no words for one that comes while it ends itself."""
    for number in _open_signals():
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _answered(answer: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Sets what answers signals."""
    before = {number: signal.getsignal(number) for number in _open_signals()}
    try:
        for number in before:
            signal.signal(number, answer)
        yield
    finally:
        for number, its in before.items():
            signal.signal(number, its)


def _open_signals() -> list[signal.Signals]:
    """Returns the signals that may be answered here: those that are ignored, as by `nohup`, stay so."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in SENTENCES if signal.getsignal(number) is not signal.SIG_IGN]
