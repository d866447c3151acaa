"""A process that has imported everything and forks for each command, so that a command takes a fraction of a second.

It reads requests as lines of JSON from standard input and answers each with a line. A request names a folder and the
commands that run in it, all at once, and what happens to them:

- `kill_at`: SIGKILL right before this event, counted from 1. An event opens a file for writing, or renames or deletes
  one, or makes or deletes a folder.
- `kill_after`: SIGKILL after this many seconds; `signal_after`: seconds, another signal, and to which command, by its
  row.
- `fail_at`: events, by their numbers, that fail with the error `errno`.
- `largest`: bytes above which files cannot grow.
- `closed`: standard streams that are closed before the command begins.

The answer has, for each command, its exit code (negative: the signal that ended it), output, number of events, seconds.
"""

import errno
import json
import os
import resource
import signal
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")


def prepare() -> None:
    """Imports what commands import, and makes them small: few digits, no drawings."""
    import matplotlib.backends.backend_agg  # noqa: F401
    import torch
    import torchattacks  # noqa: F401
    from matplotlib.figure import Figure

    torch.set_num_threads(1)
    import robustcsc.cli.main  # noqa: F401
    from robustcsc.cli.commands import attack, data, evaluate, fit_lambda, report, train  # noqa: F401
    from robustcsc.corruptions import export  # noqa: F401
    from robustcsc.data.catalog import EMBEDDED
    from robustcsc.presentation.chart import Chart
    from robustcsc.presentation.drawing import Drawing
    from robustcsc.reports.page import build
    from robustcsc.session import reporting, session, training  # noqa: F401
    from robustcsc.training import loop  # noqa: F401

    @cache
    def few(split: str) -> Any:
        return every(split).subset(torch.arange(60 if split == "train" else 20))

    def empty(chart: Chart, *, narrow: bool = False) -> Drawing:
        return Drawing(chart.name, chart.title, chart.description, Figure())

    every = EMBEDDED["digits"]
    EMBEDDED["digits"] = few
    few("train"), few("test")
    for module in (reporting, build):
        setattr(module, "draw", empty)  # noqa: B010
    setattr(Drawing, "to_svg", lambda _: "<svg></svg>")  # noqa: B010
    setattr(Drawing, "to_png", lambda _: b"")  # noqa: B010


def watch(place: str, request: dict[str, Any], count: list[int]) -> None:
    """Counts the events of this process in a folder, and lets what the request says happen at them."""
    kill_at, fail_at = request.get("kill_at"), set(request.get("fail_at", ()))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in EVENTS:
            path = arguments[0]
        else:
            return
        if isinstance(path, int) or not os.path.abspath(os.fsdecode(path)).startswith(place):
            return
        count[0] += 1
        if count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if count[0] in fail_at:
            number = getattr(errno, request["errno"])
            raise OSError(number, os.strerror(number), path)

    sys.addaudithook(hook)


def child(request: dict[str, Any], words: list[str], answer: str, gate: int) -> None:
    """Runs one command and ends the process."""
    place, count = request["place"], [0]
    os.chdir(place)
    for number, name in ((1, "out"), (2, "err")):
        opened = os.open(f"{answer}.{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
    os.read(gate, 1)  # all begin together
    for number in request.get("closed", ()):
        os.close(number)
    if (largest := request.get("largest")) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    watch(place, request, count)
    from robustcsc.cli.main import main

    try:
        code = main(words)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 99
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Path(f"{answer}.events").write_text(str(count[0]))
    os._exit(code)


def serve(request: dict[str, Any], scratch: str) -> list[dict[str, Any]]:
    """Runs the commands of a request and returns what they left."""
    reading, writing = os.pipe()
    children = []
    for row, words in enumerate(request["commands"]):
        answer = f"{scratch}/{row}"
        for ending in ("out", "err", "events"):
            Path(f"{answer}.{ending}").unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            child(request, words, answer, reading)
        children.append((pid, answer))
    started = time.monotonic()
    os.write(writing, b"." * len(children))
    after, number, row = request.get("signal_after", (request.get("kill_after"), signal.SIGKILL, 0))
    if after is not None:
        time.sleep(after)
        os.kill(children[row][0], number)
    found = []
    for pid, answer in children:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out, err = (Path(f"{answer}.{name}").read_text("utf-8", "replace") for name in ("out", "err"))
        events = Path(f"{answer}.events")
        count = int(events.read_text()) if events.exists() else None
        found.append({"code": code, "out": out, "err": err, "events": count, "seconds": time.monotonic() - started})
    os.close(reading)
    os.close(writing)
    return found


if __name__ == "__main__":
    prepare()
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(serve(json.loads(line), scratch)) + "\n")
            sys.stdout.flush()
