"""`robustcsc doctor`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from robustcsc.cli import options
from robustcsc.cli.console import print_json, print_line

if TYPE_CHECKING:
    from robustcsc.session.diagnosis import Compute, Diagnosis

#: Columns of a plain terminal, and those of the words before a value.
_WIDTH, _LABEL = 80, 24

_GIB, _MIB = 2**30, 2**20


def doctor(as_json: options.Json = False) -> None:
    """Tell what is wrong with the installation and the runs, and what a bug report needs.

    The exit code is 2 if something stops robustcsc from working, and 0 otherwise.
    """
    from robustcsc.session.diagnosis import diagnose

    found = diagnose()
    if as_json:
        print_json(found)
    else:
        print_line(_text(found))
    if not found.works:
        raise typer.Exit(2)


def _text(found: Diagnosis) -> str:
    """Returns the diagnosis as plain text of 80 columns; paths may be longer."""
    sections = {
        "System": _system(found),
        "Compute": {} if found.compute is None else {**_compute(found.compute), "engines": _engines(found)},
        "Packages": {name: version or "not installed" for name, version in found.packages.items()},
        "Extras": {name: _extra(needed) for name, needed in found.extras.items()},
        "Environment": found.variables,
        "Places": _places(found),
    }
    lines = [_verdict(found)]
    for number, problem in enumerate(found.problems, 1):
        lines += ["", *_wrapped(f"{number}. ", problem.sentence)]
    for title, facts in sections.items():
        lines += ["", title] if facts else []
        lines += [line for label, fact in facts.items() for line in _wrapped(f"  {label:<{_LABEL}}  ", fact)]
    ending = "For a bug report, add the command you typed, and what it prints with --debug."
    return "\n".join([*lines, "", ending])


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _verdict(found: Diagnosis) -> str:
    """Returns the first line."""
    count = len(found.problems)
    if count == 0:
        return "robustcsc works; no problem was found."
    things = "one thing" if count == 1 else f"{count} things"
    return f"robustcsc {'works' if found.works else 'does not work'}; {things} to know:"


def _system(found: Diagnosis) -> Mapping[str, str]:
    slow = ", no bfloat16 unit: --precision bf16 is several times slower than fp32"
    bfloat16 = {True: ", bfloat16", False: slow, None: ""}[found.bfloat16]
    return {
        "robustcsc": f"{found.version}{f' ({found.commit})' if found.commit else ''} in {found.package}",
        "Python": f"{found.python}, {found.executable}",
        "system": found.system,
        "processor": f"{found.cpus} x {found.cpu}{bfloat16}",
        "memory": f"{found.memory / _GIB:.1f} GiB",
    }


def _compute(found: Compute) -> Mapping[str, str]:
    gpus = {
        f"cuda:{index}": f"{it.name}, {it.memory / _GIB:.0f} GiB, compute capability {it.capability}, "
        f"{'bfloat16' if it.bfloat16 else 'no bfloat16'}"
        for index, it in enumerate(found.gpus)
    }
    built = "PyTorch is built without it" if found.cuda is None else f"no device (PyTorch is built for {found.cuda})"
    return {
        "threads": str(found.threads),
        **(gpus or {"CUDA": built}),
        **({"NVIDIA driver": found.driver} if found.driver else {}),
        **({"MPS": "there, but robustcsc does not use it"} if found.mps else {}),
    }


def _engines(found: Diagnosis) -> str:
    """Returns who can measure here."""
    ray = f"Ray {found.ray} (--engine ray)" if found.ray else "no Ray: pip install 'robustcsc[ray]'"
    return f"this machine, in one process or several (--workers 2 to {max(2, found.cpus)}); {ray}"


def _extra(needed: Mapping[str, str | None]) -> str:
    """Returns what is installed of an extra, and what to type for the rest."""
    there = [f"{requirement.partition('>')[0]} {version}" for requirement, version in needed.items() if version]
    missing = [f"'{requirement}'" for requirement, version in needed.items() if not version]
    return ", ".join(there + ([f"not installed: pip install {' '.join(missing)}"] if missing else []))


def _places(found: Diagnosis) -> Mapping[str, str]:
    runs = "no runs" if not found.run_count else f"{found.run_count} runs, the latest is {found.latest}"
    kept = f"{found.cached / _MIB:.1f}"
    return {
        "runs": f"{found.runs} ({'1 run' if found.run_count == 1 else runs})",
        "data": "--root, or where the run found them" if found.data is None else f"{found.data}/NAME",
        "cache": "nothing is kept" if found.cache is None else f"{found.cache} ({kept} MiB, may be deleted)",
        "free on the disk": f"{found.free / _GIB:.1f} GiB",
    }
