"""`robustcsc compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import print_json, print_line
from robustcsc.cli.render import print_sentences, print_tables


def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="The runs, two at least.")],
    as_json: options.Json = False,
) -> None:
    """Say which of several runs is more accurate, by how much and how sure that is, image by image.

    Only what all of them were measured on counts; each adaptive lambda meets its own training lambda, too.
    """
    chosen = [runs.find(name) for name in names]

    from robustcsc.session.comparing import compare as compared

    found = compared(chosen)
    if as_json:
        print_json(found.told())
        return
    print_sentences(found.sentences)
    print_line("")
    print_tables(found.tables)
