"""`robustcsc models`, `robustcsc corruptions` and `robustcsc data`: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.console import print_json, results_console


def models(as_json: options.Json = False) -> None:
    """List the models with their parameters (10 classes, the images they are made for)."""
    import inspect

    from robustcsc.models.catalog import MODELS, build, default_spec
    from robustcsc.report import Table

    rows = []
    for name, builder in MODELS.items():
        shape = (1, 8, 8) if name.endswith("digits") else (3, 32, 32)
        model = build(default_spec(name, 10, shape))
        count = sum(parameter.numel() for parameter in model.parameters())
        about = (inspect.getdoc(builder) or "").split("\n")[0].removeprefix("Returns ")
        defaults = ", ".join(
            f"{key}={parameter.default}"
            for key, parameter in inspect.signature(builder).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        )
        rows.append((name, f"{count:,}", about, defaults))
    table = Table(
        name="models", title="Models", columns=("model", "parameters", "what it is", "options"), rows=tuple(rows)
    )
    _show(table, as_json)


def corruptions(
    spec: Annotated[str, typer.Argument(help="cifar10_c, imagenet_c or a TOML file.")] = "cifar10_c",
    as_json: options.Json = False,
) -> None:
    """List the corruptions of a severity table with their strengths."""
    from robustcsc.corruptions import load_spec
    from robustcsc.report import Table

    table = load_spec(spec)
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
    _show(
        Table(
            name="corruptions",
            title=f"{table.name}: {table.image_size}x{table.image_size} pixels",
            columns=columns,
            rows=rows,
            notes=(f"Source: {table.source}",),
        ),
        as_json,
    )


def data(as_json: options.Json = False) -> None:
    """List the data sets."""
    from robustcsc.data import DATASETS
    from robustcsc.report import Table

    rows = tuple(
        (name, source.about, "yes" if source.needs_root else "no", "yes" if source.can_download else "no")
        for name, source in DATASETS.items()
    )
    _show(
        Table(
            name="data", title="Data sets", columns=("data set", "what it is", "needs --root", "--download"), rows=rows
        ),
        as_json,
    )


def _show(table: object, as_json: bool) -> None:
    from robustcsc.report import Table

    assert isinstance(table, Table)
    if as_json:
        print_json([dict(zip(table.columns, row, strict=True)) for row in table.rows])
    else:
        results_console().print(table.to_rich())
