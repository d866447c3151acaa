"""State dicts as people save them, brought to the names of a model's own.

A file may hold the state dict below keys of its own (``state_dict``, ``net``, ``{"model": {"state_dict": ...}}``). Its
tensors may have a common prefix (``module.`` of DataParallel, ``_orig_mod.`` of ``torch.compile``, ``model.`` of
Lightning), or be those of a part of the model, such as the network behind a normalisation, if nothing but buffers is
left over. Residual networks are also found under the names that torchvision, timm and the common CIFAR ResNets give
them (``conv1``, ``layer1.0.bn2``, ``downsample`` or ``shortcut``, ``fc`` or ``linear``), and SDNets under those of
their authors' code (``layer0.0.dn.weight``, ``layer0.0.dn.step_size``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from robustcsc.layers.csc import STEP_FRACTION

StateDict = dict[str, Tensor]

#: How deep dictionaries are searched for state dicts.
_DEPTH = 4

#: Names in other residual networks, after the prefix they share, and in `robustcsc.layers.residual`.
_RESIDUAL_NAMES = (
    (r"^layer0\.2\.", "stem.3."),
    (r"^layer0\.", "stem."),
    (r"^conv1\.", "stem.0."),
    (r"^bn1\.", "stem.1."),
    (r"^layer1\.(layers\.)?", "stages.0."),
    (r"^layer2\.(layers\.)?", "stages.1."),
    (r"^layer3\.(layers\.)?", "stages.2."),
    (r"^layer4\.(layers\.)?", "stages.3."),
    (r"\.downsample\.", ".shortcut."),
    (r"^(fc|linear)\.", "head."),
)


def state_dicts_in(content: object, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, StateDict]]:
    """Yields every state dict in what a file holds, after the keys that lead to it (``model.state_dict``)."""
    if not isinstance(content, Mapping) or not content:
        return
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        yield ".".join(keys), dict(content)
    elif len(keys) < _DEPTH:
        for key, value in content.items():
            yield from state_dicts_in(value, (*keys, str(key)))


def fitted(tensors: StateDict, model: nn.Module) -> StateDict | None:
    """Returns `tensors` under the names of `model`, completed; ``None`` if they belong to another architecture.

    What the file may lack keeps the value it has in `model`: the number of batches that batch normalisation has seen
    (as in ``load_state_dict``), buffers outside the part of the model that the file holds, and the lambda of an SDNet
    from its authors' code, which saves none.
    """
    wanted = model.state_dict()
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    found = {re.sub(r"(?<![^.])_orig_mod\.", "", name): tensor for name, tensor in tensors.items()}
    of_authors = any(".dn." in name for name in found)
    for candidate in (found, _residual(found)):
        for before, part in _prefixes(candidate, wanted):
            named = {part + name.removeprefix(before): tensor for name, tensor in candidate.items()}
            lacking = {
                name
                for name in wanted.keys() - named.keys()
                if not name.endswith(".num_batches_tracked")
                and (name in parameters or name.startswith(part))
                and not (of_authors and name.endswith(".lam"))
            }
            if not lacking and all(
                name in wanted and tensor.shape == wanted[name].shape for name, tensor in named.items()
            ):
                return wanted | named
    return None


def _prefixes(found: StateDict, wanted: StateDict) -> Iterator[tuple[str, str]]:
    """Yields pairs of what may stand before all names of `found`, and before those of `wanted`."""
    yield "", ""
    if not found:
        return
    name, shape = next(((name, it.shape) for name, it in found.items() if it.ndim), ("", torch.Size()))
    parts = name.split(".")
    tried = set()
    for other in (other.split(".") for other, tensor in wanted.items() if tensor.shape == shape):
        same = 0
        while same < min(len(parts), len(other)) and parts[-1 - same] == other[-1 - same]:
            same += 1
        before, part = ("".join(f"{word}." for word in words[: len(words) - same]) for words in (parts, other))
        if same and (before, part) not in tried and all(name.startswith(before) for name in found):
            tried.add((before, part))
            yield before, part


def _residual(found: StateDict) -> StateDict:
    """Returns the tensors of a residual network of elsewhere under the names of this package's.

    The authors' SDNet normalises its atoms at the start of each forward pass, and keeps the step size 0.9 / L.
    """
    before = next((name.partition("layer1.")[0] for name in found if "layer1." in name), "")
    renamed = {}
    for full_name, tensor in found.items():
        name, value = full_name.removeprefix(before), tensor
        for pattern, ours in _RESIDUAL_NAMES:
            name = re.sub(pattern, ours, name)
        if name.endswith(".dn.weight"):
            name = name.replace(".dn.", ".dictionary.")
            value = value / torch.linalg.vector_norm(value, dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
        elif name.endswith(".dn.step_size"):
            name, value = name.replace(".dn.step_size", ".dictionary.lipschitz"), STEP_FRACTION / value
        renamed[name] = value
    return renamed
