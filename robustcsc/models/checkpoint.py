"""Checkpoints: weights and the specification of their model in one safetensors file; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import Tensor, nn

from robustcsc.errors import CheckpointError, ModelError, UnknownNameError
from robustcsc.files import write_whole
from robustcsc.layers.unit_dictionary import without_estimates
from robustcsc.measurements.facts import sealed, unsealed
from robustcsc.measurements.trainings import checked_training
from robustcsc.models.catalog import ModelSpec, all_options, build
from robustcsc.models.layouts import fitted, state_dicts_in
from robustcsc.models.shipped import SHIPPED


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model with weights.

    Attributes:
        spec: Specification of the model.
        model: The model with its weights, in evaluation mode.
        weights: SHA-256 (hex) of specification and weights.
        training: How the weights were trained: data set, recipe, epochs, seed, held-out part, device, versions.
            Empty for weights from elsewhere.
    """

    spec: ModelSpec
    model: nn.Module
    weights: str
    training: dict[str, Any] = field(default_factory=dict)


def weights_hash(model: nn.Module, spec: ModelSpec) -> str:
    """Returns the SHA-256 (hex) of the specification and of names, types, shapes and bytes of the state dict.

    The specification is included because the same weights with another number of steps are another function.
    """
    return tensors_digest(model.state_dict(), spec.to_json())


def tensors_digest(tensors: Mapping[str, Tensor], about: str = "") -> str:
    """Returns the SHA-256 (hex) of some text and of names, types, shapes and bytes of tensors."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(path: Path, spec: ModelSpec, model: nn.Module, training: Mapping[str, Any]) -> None:
    """Writes weights, specification and training facts to one safetensors file, replacing it in one step."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {
        "spec": spec.to_json(),
        "training": json.dumps(dict(training)),
        # For readers without PyTorch, as reports are:
        "options": json.dumps(all_options(spec), sort_keys=True),
        "weights": weights_hash(model, spec),
        "parameters": str(sum(parameter.numel() for parameter in model.parameters())),
    }
    write_whole(path, serialized(tensors, sealed(metadata)))  # not save_file: a full disk stays an OSError


def load(path: Path, *, trusted: str | None = None) -> Checkpoint:
    """Builds the model that a checkpoint of this package describes and loads its weights.

    Args:
        path: The checkpoint.
        trusted: A user's own model (``package.module:factory``) that may be imported and called if the checkpoint names
            it. A checkpoint never causes any other code to run.

    Raises:
        CheckpointError: If the file is missing, is not a checkpoint of this package, names a model outside the package
            that is not `trusted`, or does not fit the model it names.
    """
    metadata, tensors = _read(path)
    if "spec" not in metadata:
        raise CheckpointError(f"{path} does not say which model it is for: name the model with --model.")
    try:
        spec = ModelSpec.from_json(metadata["spec"])
        training = checked_training(metadata)
    except (ValueError, UnknownNameError, ModelError) as error:
        raise CheckpointError(
            f"{path} describes its model in a way that this version cannot read ({str(error).rstrip('.?')}): name the "
            "model with --model."
        ) from error
    if spec.own_code and spec.name != trusted:
        raise CheckpointError(
            f"{path} is for {spec.name}, code outside this package: add --model {spec.name} if you trust it."
        )
    with without_estimates():  # they are in the file
        model = build(spec)
    if (complete := fitted(tensors, model)) is None:
        raise CheckpointError(_misfit(path, tensors, model, spec))
    loaded = replace(_complete(model, complete, spec), training=training)
    if loaded.weights != metadata.get("weights", loaded.weights):
        raise CheckpointError(
            f"{path} was damaged or edited, as its weights are not what its SHA-256 says: restore a copy, or train "
            "again."
        )
    return loaded


def load_foreign(path: Path, spec: ModelSpec) -> Checkpoint:
    """Builds `spec` and loads a state dict from elsewhere, in any form of `robustcsc.models.layouts`.

    The file is ``.safetensors``, or a pickle of PyTorch (``.pth``, ``.pt``, ``.th``, ``.ckpt``, ``.pth.tar``) with
    nothing but tensors, plain values and ``argparse`` settings; nothing else is ever unpickled.

    Raises:
        CheckpointError: If the file is missing, holds anything else or no state dict, or does not fit the model.
    """
    model = build(spec)
    found = list(state_dicts_in(_content(path)))
    if not found:
        raise CheckpointError(f"{path} holds no state dict: save the model's state_dict and load that.")
    fitting = {keys: tensors for keys, it in found if (tensors := fitted(it, model)) is not None}
    if not fitting:
        padded = replace(spec, options={**spec.options, "shortcut": "A"})
        if all_options(spec).get("shortcut") == "B" and any(fitted(it, build(padded)) for _, it in found):
            raise CheckpointError(f"{path} holds a {spec.name} with padded shortcuts: add --model-option shortcut=A.")
        raise CheckpointError(_misfit(path, max((it for _, it in found), key=len), model, spec))
    tensors, *others = fitting.values()
    if any(not torch.equal(tensors[name], other[name]) for other in others for name in tensors):
        names = " and ".join(fitting)
        raise CheckpointError(f"{path} holds several state dicts that fit, {names}: save the one to load by itself.")
    return _complete(model, tensors, spec)


def load_published(spec: ModelSpec, tensors: dict[str, Tensor]) -> Checkpoint:
    """Builds the published model of `spec` and loads its state dict.

    Raises:
        CheckpointError: The state dict belongs to another network, or an option that was given changes its form.
    """
    model = build(spec)
    if (complete := fitted(tensors, model)) is None:
        raise CheckpointError(_misfit(spec.name, tensors, model, spec))
    return _complete(model, complete, spec)


def _complete(model: nn.Module, tensors: Mapping[str, Tensor], spec: ModelSpec) -> Checkpoint:
    model.load_state_dict(tensors)
    return Checkpoint(spec=spec, model=model.eval(), weights=weights_hash(model, spec))


def _content(path: Path) -> object:
    """Returns what a file of weights from elsewhere holds."""
    if not path.is_file():
        raise CheckpointError(f"There are no weights at {path}: check --weights.")
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([Namespace]):  # the settings that timm and others save beside weights
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): check the file.") from error
    except Exception as error:  # the restricted unpickler can raise almost anything for a damaged file
        raise CheckpointError(
            f"{path} does not hold plain tensors, and nothing else is ever unpickled: "
            "save the model's state_dict and load that."
        ) from error


def _misfit(path: Path | str, found: Mapping[str, Tensor], model: nn.Module, spec: ModelSpec) -> str:
    """Returns the sentence that names what a file holds, and what the model wants instead."""
    wanted = model.state_dict()
    reshaped = [name for name in found if name in wanted and found[name].shape != wanted[name].shape]
    if reshaped:
        name = reshaped[0]
        shapes = f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        differ = f"{len(reshaped)} tensors have another shape, {shapes}"
    else:
        only, lacking = ([name for name in a if name not in b] for a, b in ((found, wanted), (wanted, found)))
        differ = f"it holds {_some(only or list(found))}, and the model wants {_some(lacking or list(wanted))}"
    return (
        f"{path} holds weights of another architecture than {spec.name}: {differ}; choose the --model they belong to."
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def load_shipped(name: str) -> Checkpoint:
    """Loads a checkpoint that ships with the package.

    Raises:
        UnknownNameError: If no shipped checkpoint has this name.
    """
    if name not in SHIPPED:
        raise UnknownNameError("shipped checkpoint", name, SHIPPED)
    with resources.as_file(resources.files("robustcsc.models") / "weights" / f"{name}.safetensors") as path:
        return load(path)


def saved_hash(path: Path) -> str:
    """Returns the SHA-256 (hex) of specification and weights that a checkpoint of this package tells; "" if none.

    Raises:
        CheckpointError: The file is missing or no safetensors file.
    """
    return _read(path)[0].get("weights", "")


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"There are no weights at {path}: train a model, or choose another --run.") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a safetensors checkpoint: convert it, or give a .pth state dict."
        ) from error
    try:
        return unsealed(metadata), tensors
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be used ({error}): restore a copy, or train again.") from error
