"""What `robustcsc/models/models.json` has to say, from the networks; `python tests/models/listed.py` writes it anew."""

import inspect
import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from robustcsc.models.catalog import MODELS

FILE = Path(__file__).parents[2] / "robustcsc/models/models.json"


def listed() -> dict[str, Any]:
    """Returns what is known of each model by its name; its layers are those with weights but normalisation."""
    found = {}
    for name, builder in MODELS.items():
        with torch.device("meta"):  # shapes only: nothing is initialised
            network = builder(10, 1 if name.endswith("digits") else 3)
        weighted = [it for it in network.modules() if any(True for _ in it.parameters(recurse=False))]
        kinds = Counter(type(it).__name__ for it in weighted)
        parameters = inspect.signature(builder).parameters.values()
        found[name] = {
            "family": builder.__module__.rpartition(".")[2],
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "layers": {kind: count for kind, count in kinds.items() if not kind.startswith(("BatchNorm", "GroupNorm"))},
            "about": (inspect.getdoc(builder) or "").split("\n")[0].removeprefix("Returns ").rstrip("."),
            "options": {it.name: it.default for it in parameters if it.kind is it.KEYWORD_ONLY},
        }
    return found


def text() -> str:
    """Returns the content of the file: a line for each model."""
    lines = (f"{json.dumps(name)}: {json.dumps(facts)}" for name, facts in listed().items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
