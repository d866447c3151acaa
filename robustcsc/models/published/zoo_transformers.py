"""Repositories of the Hub in the format of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from math import isclose
from typing import Any

from torch import nn

from robustcsc.errors import ModelError
from robustcsc.models.published import hub
from robustcsc.models.published.facts import Facts
from robustcsc.models.published.names import Published

#: Entries of a configuration that say nothing about the network, or name code that is never run.
_LEFT_OUT = ("id2label", "label2id", "auto_map", "transformers_version", "architectures", "dtype", "torch_dtype")


def facts(model: Published, config: Mapping[str, Any]) -> Facts:
    """Returns what a repository in the format of transformers expects: its ``preprocessor_config.json``.

    Raises:
        ModelError: It is no image classifier, has no safetensors, or changes images in another way than by size, mean
            and deviation.
    """
    _needed(model)
    if not any(str(it).endswith("ForImageClassification") for it in config.get("architectures") or ()):
        raise ModelError(f"{model} is no image classifier: choose a repository of a model for image classification.")
    classes = len(config.get("id2label") or {}) or 2  # the default of transformers
    weights = hub.needed_file(model, hub.WEIGHTS)
    expected = hub.json_of(model, "preprocessor_config.json")
    factor = expected.get("rescale_factor", 1 / 255) if expected.get("do_rescale", True) else 1.0
    if not expected or not isclose(factor, 1 / 255, rel_tol=1e-3) or expected.get("do_flip_channel_order"):
        raise ModelError(
            f"{model} has no preprocessor_config.json, or changes images in another way than by size, mean and "
            "deviation: build it in a function of your own, --model package.module:function."
        )
    normalised = expected.get("do_normalize", True) and expected.get("image_mean") and expected.get("image_std")
    built = {name: it for name, it in config.items() if name not in _LEFT_OUT}

    def state() -> Any:
        import torch
        from transformers import AutoModelForImageClassification

        loaded = AutoModelForImageClassification.from_pretrained(
            weights.parent, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        return loaded.state_dict()

    return Facts(
        mean=tuple(expected["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        std=tuple(expected["image_std"]) if normalised else (1.0, 1.0, 1.0),
        image_size=_size(expected.get("crop_size") if expected.get("do_center_crop") else expected.get("size")),
        num_classes=classes,
        options={"config": built},
        output="logits",
        state=state,
    )


def _size(size: Any) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    return None if size is None else int(size)


def network(model: Published, num_classes: int, options: dict[str, Any]) -> nn.Module:
    """Returns a network of transformers with fresh weights, from the configuration that `facts` keeps.

    Raises:
        ModelError: The package is not installed.
    """
    _needed(model)
    from transformers import AutoConfig, AutoModelForImageClassification

    options = dict(options)
    config = {**options.pop("config"), **options}
    kind = config.pop("model_type")
    built: nn.Module = AutoModelForImageClassification.from_config(
        AutoConfig.for_model(kind, **config, num_labels=num_classes)
    )
    return built


def _needed(model: Published) -> None:
    if find_spec("transformers") is None:
        raise ModelError(f"{model} needs the package transformers: pip install transformers.")
