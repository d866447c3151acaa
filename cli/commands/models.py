"""`robustcsc models`."""

from __future__ import annotations

from dataclasses import asdict

from robustcsc.cli import options
from robustcsc.cli.console import print_json
from robustcsc.cli.render import print_tables


def models(as_json: options.Json = False) -> None:
    """List the models with their parameters (for 10 classes, and the images they are made for)."""
    from robustcsc.models.known import PAPERS, known_models
    from robustcsc.presentation.table import Column, Table, Worded

    if as_json:
        print_json([{"model": name, "paper": PAPERS[it.family], **asdict(it)} for name, it in known_models().items()])
        return
    rows = tuple(
        (
            *(name, it.family, Worded(it.parameters, f"{it.parameters:,}")),
            ", ".join(f"{count} {kind}" for kind, count in it.layers.items()),
            it.about,
            ", ".join(f"{key}={value}" for key, value in it.options.items()),
        )
        for name, it in known_models().items()
    )
    headings = ("model", "family", "parameters", "layers", "what it is", "options (--model-option)")
    notes = tuple(f"{family}: {paper}." for family, paper in PAPERS.items())
    print_tables([Table("models", "Models", tuple(map(Column, headings)), rows, notes)])
