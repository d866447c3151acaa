"""`robustcsc models`, `robustcsc corruptions` and `robustcsc data`: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.console import print_json
from robustcsc.cli.results import print_tables


def models(as_json: options.Json = False) -> None:
    """List the models with their parameters (for 10 classes, and the images they are made for)."""
    import inspect

    import torch

    from robustcsc.models.catalog import MODELS
    from robustcsc.report import Table

    counts, defaults, about = {}, {}, {}
    for name, builder in MODELS.items():
        with torch.device("meta"):  # shapes only: nothing is initialised
            network = builder(10, 1 if name.endswith("digits") else 3)
        counts[name] = sum(parameter.numel() for parameter in network.parameters())
        about[name] = (inspect.getdoc(builder) or "").split("\n")[0].removeprefix("Returns ").rstrip(".")
        parameters = inspect.signature(builder).parameters.values()
        defaults[name] = {it.name: it.default for it in parameters if it.kind is it.KEYWORD_ONLY}
    if as_json:
        print_json(
            [
                {"model": name, "parameters": counts[name], "about": about[name], "options": defaults[name]}
                for name in MODELS
            ]
        )
        return
    rows = tuple(
        (name, f"{counts[name]:,}", about[name], ", ".join(f"{key}={value}" for key, value in defaults[name].items()))
        for name in MODELS
    )
    columns = ("model", "parameters", "what it is", "options (train --option)")
    print_tables([Table(name="models", title="Models", columns=columns, rows=rows)])


def corruptions(
    spec: Annotated[
        str, typer.Argument(metavar="[NAME|FILE]", help="cifar10_c, imagenet_c or a TOML file.")
    ] = "cifar10_c",
    as_json: options.Json = False,
) -> None:
    """List the corruptions of a severity table with their strengths."""
    from robustcsc.corruptions import load_spec
    from robustcsc.report import Table

    table = load_spec(spec)
    if as_json:
        print_json(table)
        return
    rows = tuple(
        (
            name,
            entry.group,
            "yes" if entry.standard else "extra",
            *(", ".join(f"{key} {value:g}" for key, value in level.items()) for level in entry.levels),
        )
        for name, entry in table.corruptions.items()
    )
    columns = ("corruption", "group", "standard", *(f"severity {severity}" for severity in range(1, 6)))
    title = f"{table.name}: strengths for images of {table.image_size}x{table.image_size} pixels"
    notes = (f"Source: {table.source}",)
    print_tables([Table(name="corruptions", title=title, columns=columns, rows=rows, notes=notes)])


def data(as_json: options.Json = False) -> None:
    """List the data sets."""
    from robustcsc.data import DATASETS
    from robustcsc.report import Table

    if as_json:
        print_json(DATASETS)
        return
    rows = tuple(
        (name, source.about, "yes" if source.needs_root else "no", "yes" if source.can_download else "no")
        for name, source in DATASETS.items()
    )
    columns = ("data set", "what it is", "needs --root", "--download")
    print_tables([Table(name="data", title="Data sets", columns=columns, rows=rows)])
