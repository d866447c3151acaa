from __future__ import annotations

from typing import Any

from robustcsc.measurements.trainings import Training


def training(model: str, seed: int, **changes: Any) -> Training:
    options = {"num_steps": 3} if model.startswith("detrame-") else {}
    fields: dict[str, Any] = {
        "weights": f"{model} {seed}",
        "model": model,
        "options": options,
        "parameters": 131_000 if options else 78_042,
        "data": "imagefolder",
        "trained_on": 45_000,
        "images": "feed",
        "recipe": {"epochs": 16},
        "augment": "none",
        "adversarial": None,
        "precision": "32-true",
        "epochs": 16,
        "seed": seed,
        "seconds": 100.0 + seed,
    }
    return Training(**(fields | changes))


def run_of(it: Training) -> dict[str, str]:
    """What names the run of a training in the factories of records."""
    return {"run": f"{it.model}-{it.seed}", "model": it.model, "weights": it.weights}
