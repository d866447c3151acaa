"""`robustcsc merge`."""

from __future__ import annotations

from typing import Annotated

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import print_json, print_line


def merge(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs or folders of runs of one model.")],
    into: Annotated[
        str, options.in_output("--into", metavar="RUN", help="The run that gets all results; it may be new.")
    ],
    as_json: options.Json = False,
) -> None:
    """Join the results of runs of one model, such as those of the tasks of a cluster, in one run.

    Nothing is lost or counted twice. Runs that contradict each other are refused, and nothing is written.
    """
    chosen = [runs.find(name) for name in names]

    from robustcsc.session.merging import merge as merged

    found = merged(chosen, into)
    if as_json:
        print_json({"run": found.run.folder, **{it: getattr(found, it) for it in ("records", "added", "repeated")}})
        return
    print_line(f"{found.run.folder} has {_records(found.records)}, {found.added or 'none'} of them new.")
    if found.repeated:
        repeat = "repeats" if found.repeated == 1 else "repeat"
        print_line(f"{_records(found.repeated)} {repeat} an earlier one, with the same counts; the earlier one stays.")


def _records(count: int) -> str:
    return f"{count} record{'s' * (count != 1)}"
