"""Image classifiers of torchvision, with the weights that it publishes."""

from __future__ import annotations

from typing import Any

from torch import nn

from robustcsc.errors import ModelError, UnknownNameError
from robustcsc.models.published.facts import Facts
from robustcsc.models.published.names import Published


def facts(model: Published) -> Facts:
    """Returns what weights of torchvision expect: the evaluation transforms that are published with them.

    Raises:
        UnknownNameError: There is no such model, or it has no such weights.
        ModelError: The weights have no classifier.
    """
    from torchvision import models

    _known(model)
    if not model.weights:
        return Facts()
    entries = {it.name: it for it in models.get_model_weights(model.name)}
    if model.weights not in entries:
        raise UnknownNameError(f"weights of {model.name}", model.weights, entries)
    entry = entries[model.weights]
    if not entry.meta["categories"]:
        others = [f"torchvision:{model.name}@{name}" for name, it in entries.items() if it.meta["categories"]]
        raise ModelError(f"The weights {model} have no classifier, so they name no class: type {' or '.join(others)}.")
    expected = entry.transforms()
    return Facts(
        mean=tuple(expected.mean),
        std=tuple(expected.std),
        image_size=int(expected.crop_size[0]),
        num_classes=len(entry.meta["categories"]),
        options=_architecture(model.name, entry.meta),
        state=lambda: _state(model, entry),
    )


def _architecture(name: str, meta: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments with which torchvision builds a network for its weights, beside the number of classes."""
    if name in ("googlenet", "inception_v3"):
        return {"transform_input": True, "init_weights": False}  # their weights have a normalisation of their own
    if name.startswith("vit_") and meta["min_size"][0] != 1:
        return {"image_size": int(meta["min_size"][0])}
    return {}


def _state(model: Published, entry: Any) -> Any:
    try:
        return entry.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # a wrong hash is a RuntimeError
        raise ModelError(
            f"The weights {model} are neither in the cache of torch.hub nor can they be fetched ({_words(error)}): put "
            f"{entry.url} into its folder checkpoints, or give the file with --weights."
        ) from error


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).strip("<>")


def network(model: Published, num_classes: int, options: dict[str, Any]) -> nn.Module:
    """Returns a network of torchvision with fresh weights.

    Raises:
        UnknownNameError: There is no such model.
    """
    from torchvision import models

    _known(model)
    built: nn.Module = models.get_model(model.name, weights=None, num_classes=num_classes, **options)
    return built


def _known(model: Published) -> None:
    from torchvision import models

    known = models.list_models(module=models)
    if model.name not in known:
        raise UnknownNameError("model of torchvision", model.name, known)
