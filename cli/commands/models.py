"""`robustcsc models`."""

from __future__ import annotations

from typing import Any

from robustcsc.cli import options
from robustcsc.cli.console import print_json
from robustcsc.cli.render import print_tables


def models(as_json: options.Json = False) -> None:
    """List the models with their parameters (for 10 classes, and the images they are made for)."""
    from robustcsc.models.catalog import MODELS
    from robustcsc.presentation.table import Column, Table, Worded

    entries = [_model(name) for name in MODELS]
    if as_json:
        print_json(entries)
        return
    rows = tuple(
        (
            *(it["model"], it["family"], Worded(it["parameters"], f"{it['parameters']:,}")),
            ", ".join(f"{count} {kind}" for kind, count in it["layers"].items()),
            it["about"],
            ", ".join(f"{key}={value}" for key, value in it["options"].items()),
        )
        for it in entries
    )
    headings = ("model", "family", "parameters", "layers", "what it is", "options (--model-option)")
    papers = {it["family"]: f"{it['family']}: {it['paper']}." for it in entries}
    columns = tuple(map(Column, headings))
    table = Table(name="models", title="Models", columns=columns, rows=rows, notes=tuple(papers.values()))
    print_tables([table])


def _model(name: str) -> dict[str, Any]:
    """Returns what is known about a model of the catalog; its layers are those that have weights but normalisation."""
    import inspect
    from collections import Counter

    import torch

    from robustcsc.models.catalog import MODELS, PAPERS

    builder = MODELS[name]
    family = builder.__module__.rpartition(".")[2]
    with torch.device("meta"):  # shapes only: nothing is initialised
        network = builder(10, 1 if name.endswith("digits") else 3)
    weighted = (it for it in network.modules() if any(True for _ in it.parameters(recurse=False)))
    kinds = Counter(type(it).__name__ for it in weighted)
    parameters = inspect.signature(builder).parameters.values()
    return {
        "model": name,
        "family": family,
        "paper": PAPERS[family],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "layers": {kind: count for kind, count in kinds.items() if "Norm" not in kind},
        "about": (inspect.getdoc(builder) or "").split("\n")[0].removeprefix("Returns ").rstrip("."),
        "options": {it.name: it.default for it in parameters if it.kind is it.KEYWORD_ONLY},
    }
