"""Options in panels of the help pages."""

from functools import partial
from pathlib import Path

import typer

from robustcsc.files import check_writable

#: An option in a panel of the help pages; the panels are in this order where a command has them all.
in_model, in_data, in_corruptions, in_lambda, in_compute, in_output = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Model", "Data", "Corruptions", "Lambda", "Compute", "Output")
)


def writable(parameter: typer.CallbackParam, value: Path | None) -> Path | None:
    """Refuses a place that cannot be written to, before anything is read; its metavar says whether it is a folder."""
    if value is not None:
        check_writable(value, parameter.opts[0], folder=parameter.metavar == "FOLDER")
    return value
