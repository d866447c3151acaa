"""What a command costs before it computes, and what threads cost beside other programs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from row import Row, children_cpu, command, in_turn

#: Commands that need no tensors, beside `--help`.
LIGHT = ("models", "data", "corruptions", "attack --run nowhere", "sweep --data cifra10")
#: The modules that a sweep imports, in a process that then ends: nothing is computed.
IMPORTS = (
    "import robustcsc.cli.main, robustcsc.cli.commands.evaluate, torch, robustcsc.session.opening,"
    "robustcsc.session.results, robustcsc.reports.summary.short"
)
#: Enough images for the attack to take longer than the imports.
ATTACK = "attack --pgd linf --run sdnet-digits --limit 250"


def rows() -> list[Row]:
    """Returns the rows of commands without tensors, of imports, and of a loaded machine."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = os.environ | {"PYTHONPYCACHEPREFIX": f"{folder}/compiled"}  # as an installed package is
        compiled.pop("PYTHONDONTWRITEBYTECODE", None)
        help_page = command("--help", cwd=folder, env=compiled)
        light = [
            Row.timed(
                "startup",
                f"`robustcsc {typed}`",
                "`robustcsc --help`",
                in_turn(command(*typed.split(), cwd=folder, env=compiled), help_page, 5, children_cpu),
                1.9,  # 0.4 s beside 0.21 s
            )
            for typed in LIGHT
        ]
        torch = command("-c", "import torch", env=compiled)
        imports = in_turn(command("-c", IMPORTS, cwd=folder, env=compiled), torch, 5, children_cpu)
        free = {name: value for name, value in compiled.items() if name != "OMP_NUM_THREADS"}
        return [
            *light,
            Row.timed("startup", "imports of a sweep", "`import torch`", imports, 1.2),
            _loaded(folder, free),
        ]


def _loaded(folder: str, env: dict[str, str]) -> Row:
    """Returns the row of an attack with its own choice of threads, beside a busy process on each core."""
    words = (*ATTACK.split(), "--remeasure")
    own, one = (command(*words, *more, cwd=folder, env=env) for more in ((), ("--threads", "1")))
    with _busy(os.cpu_count() or 1):
        timing = in_turn(own, one, 3, time.perf_counter)
    return Row.timed(
        "startup", f"`{ATTACK}` beside a busy process a core", "with `--threads 1`", timing, 1.2, wall=True
    )


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
