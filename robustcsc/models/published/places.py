"""One way into all places of published models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from robustcsc.errors import ModelError
from robustcsc.models.published import hub, zoo_timm, zoo_torchvision, zoo_transformers
from robustcsc.models.published.facts import Facts
from robustcsc.models.published.names import Published


def facts_of(model: Published) -> Facts | Path:
    """Returns what is known of a published model; for a run of this package on the Hub, its weights.

    Raises:
        RobustCSCError: There is no such model, or it cannot be had.
    """
    if model.place == "torchvision":
        return zoo_torchvision.facts(model)
    if model.place == "timm":
        return zoo_timm.facts(model)
    config = hub.description(model)
    if not config:
        return hub.needed_file(model, hub.RUN_WEIGHTS)
    if "architecture" in config:
        _needs_timm(model)
        return zoo_timm.facts_of_repository(model, config)
    if "model_type" in config:
        return zoo_transformers.facts(model, config)
    raise ModelError(
        f"{model} does not say which network it is for, in the form of timm or transformers: name the network with "
        f"--model and the repository with --weights hf:{model.name}."
    )


def network_of(model: Published, num_classes: int, channels: int, options: dict[str, Any]) -> nn.Module:
    """Returns the network of a published model with fresh weights; asks neither the network nor a cache.

    Args:
        model: Its name.
        num_classes: Number of logits.
        channels: Number of channels of the images.
        options: Arguments of its builder, those of `Facts.options` among them.

    Raises:
        RobustCSCError: There is no such model, or the package that has it is not installed.
    """
    if model.place == "torchvision":
        return zoo_torchvision.network(model, num_classes, options)
    if model.place == "timm" or "architecture" in options.get("config", {}):
        _needs_timm(model)
        return zoo_timm.network(model, num_classes, channels, options)
    if model.place == "hf" and "config" in options:
        return zoo_transformers.network(model, num_classes, options)
    raise ModelError(f"{model} is a repository of the Hub, whose weights are given by its name: leave --weights out.")


def _needs_timm(model: Published) -> None:
    from importlib.util import find_spec

    if find_spec("timm") is None:
        raise ModelError(f"{model} needs the package timm: pip install 'robustcsc[timm]'.")
