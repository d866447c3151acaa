"""Models of timm, with the weights that it publishes, and repositories of the Hub in its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from robustcsc.errors import ModelError, UnknownNameError
from robustcsc.models.published import hub
from robustcsc.models.published.facts import Facts
from robustcsc.models.published.names import Published

#: What a network of a repository is built from.
_BUILDS = ("architecture", "num_classes", "model_args", "pretrained_cfg")


def facts(model: Published) -> Facts:
    """Returns what a model of timm expects: its ``pretrained_cfg``.

    Raises:
        UnknownNameError: There is no such model, or it has no such weights.
    """
    import timm

    _known(model.name)
    names = timm.list_pretrained(f"{model.name}.*")
    if model.weights and f"{model.name}.{model.weights}" not in names:
        known = [name.partition(".")[2] for name in names]
        if not known:
            raise ModelError(f"timm has no weights of {model.name}: write timm:{model.name} and add --weights FILE.")
        raise UnknownNameError(f"weights of {model.name}", model.weights, known)
    typed = f"{model.name}.{model.weights}" if model.weights else model.name
    config = timm.get_pretrained_cfg(typed)
    expected: dict[str, Any] = {} if config is None else config.to_dict()  # type: ignore[no-untyped-call]
    if not model.weights:
        return _expecting(expected)

    def state() -> Any:
        if repository := expected.get("hf_hub_id"):  # timm takes a failed connection for a file that is not there
            hub.reach(Published("hf", *repository.partition("@")[::2]))
        return _pretrained(str(model), typed)

    return replace(_expecting(expected), num_classes=expected["num_classes"], state=state)


def facts_of_repository(model: Published, config: Mapping[str, Any]) -> Facts:
    """Returns what a repository in the format of timm expects.

    Raises:
        UnknownNameError: timm has no such architecture.
        ModelError: It has no safetensors.
    """
    _known(config["architecture"])
    built = {name: config[name] for name in _BUILDS if name in config}
    expected = dict(config.get("pretrained_cfg", {}))
    classes = config.get("num_classes", expected.get("num_classes", 1000))
    weights = hub.needed_file(model, hub.WEIGHTS)

    def state() -> Any:
        read = {**expected, "file": str(weights), "source": "", "hf_hub_id": None, "url": "", "num_classes": classes}
        return _pretrained(str(model), built["architecture"], pretrained_cfg=read, **built.get("model_args", {}))

    return replace(_expecting(expected), num_classes=classes, options={"config": built}, state=state)


def _expecting(expected: Mapping[str, Any]) -> Facts:
    size = expected.get("input_size")
    return Facts(
        mean=tuple(expected.get("mean") or ()),
        std=tuple(expected.get("std") or ()),
        image_size=int(size[-1]) if size else None,
    )


def _pretrained(model: str, name: str, **options: Any) -> Any:
    import timm
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        with hub.quiet():
            return timm.create_model(name, pretrained=True, **options).state_dict()
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"The weights {model} are not in the cache of the Hub, which is offline or cannot be reached: connect and "
            "unset HF_HUB_OFFLINE, or give the file with --weights."
        ) from error
    except Exception as error:  # those of the network, the Hub and timm
        cause = str(error).partition("\n")[0].rstrip(".:")
        raise ModelError(
            f"The weights {model} can be neither fetched nor loaded ({cause or 'without a reason'}): give the file "
            "with --weights."
        ) from error


def network(model: Published, num_classes: int, channels: int, options: dict[str, Any]) -> nn.Module:
    """Returns a network of timm with fresh weights.

    Args:
        model: Its name, or a repository.
        num_classes: Number of logits.
        channels: Number of channels of the images.
        options: Arguments of its builder; for a repository those of `facts_of_repository` among them.

    Raises:
        UnknownNameError: There is no such model.
    """
    import timm

    options = dict(options)
    config = options.pop("config", {})
    name = config["architecture"] if config else f"{model.name}.{model.weights}".rstrip(".")
    _known(name.partition(".")[0])
    if config:
        saved = {key: it for key, it in config.get("model_args", {}).items() if key not in ("num_classes", "in_chans")}
        options = {"pretrained_cfg": dict(config.get("pretrained_cfg", {})), **saved, **options}
    built: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=channels, **options)
    return built


def _known(name: str) -> None:
    import timm

    if ":" in name or not timm.is_model(name):
        raise UnknownNameError("model of timm", name, timm.list_models())
