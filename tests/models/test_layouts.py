"""Weights as other people save them give the logits of the networks they come from.

The networks below have the names, layouts and forward passes of those in wide use; no checkpoint of theirs is needed.
"""

import importlib
import math
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.errors import CheckpointError
from robustcsc.layers.normalize import Normalize
from robustcsc.models import checkpoint
from robustcsc.models.catalog import ModelSpec, build, default_spec

torchvision_models = importlib.import_module("torchvision.models")

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(2, 3, 32, 32, generator=GENERATOR)
SMALL = torch.rand(5, 1, 8, 8, generator=GENERATOR)


class Block(nn.Module):
    """A basic block whose shortcut is padded (option A of He et al.), or a 1x1 convolution of this name."""

    def __init__(
        self, planes_in: int, planes: int, stride: int, shortcut: str, layer: Callable[..., nn.Module]
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = layer(planes_in, planes, 3, stride, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = layer(planes, planes, 3, 1, 1), nn.BatchNorm2d(planes)
        self.planes_in, self.planes, self.stride, self.name = planes_in, planes, stride, shortcut
        if shortcut not in ("padded", "none") and (stride != 1 or planes_in != planes):
            projection = nn.Conv2d(planes_in, planes, 1, stride, bias=False)
            setattr(self, shortcut, nn.Sequential(projection, nn.BatchNorm2d(planes)))

    def forward(self, x: Tensor) -> Tensor:
        sparse = isinstance(self.conv1, Dictionary)  # the authors of SDNet have no ReLU inside a block
        inner = self.bn1(self.conv1(x))
        out: Tensor = self.bn2(self.conv2(inner if sparse else F.relu(inner)))
        if self.name == "none":
            return out
        if hasattr(self, self.name):
            return F.relu(out + getattr(self, self.name)(x))
        half = (self.planes - self.planes_in) // 2
        return F.relu(out + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half)))


def convolution(channels: int, planes: int, size: int, stride: int, padding: int) -> nn.Module:
    return nn.Conv2d(channels, planes, size, stride, padding, bias=False)


class Stages(nn.Module):
    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class Net(nn.Module):
    """A residual network: ``conv1``, ``bn1``, ``layer1`` ..., and a head of this name."""

    def __init__(
        self,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        head: str = "linear",
        shortcut: str = "padded",
        layer: Callable[..., nn.Module] = convolution,
        listed: bool = False,
    ) -> None:
        super().__init__()
        self.head, self.stages, planes = head, len(widths), widths[0]
        self.conv1, self.bn1 = convolution(3, planes, 3, 1, 1), nn.BatchNorm2d(planes)
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
            blocks: list[nn.Module] = []
            for position in range(depth):
                blocks.append(Block(planes, width, 2 if index > 1 and position == 0 else 1, shortcut, layer))
                planes = width
            setattr(self, f"layer{index}", Stages(blocks) if listed else nn.Sequential(*blocks))
        setattr(self, head, nn.Linear(planes, 10))

    def start(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(x)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        for index in range(1, self.stages + 1):
            x = getattr(self, f"layer{index}")(x)
        logits: Tensor = getattr(self, self.head)(x.mean((2, 3)))
        return logits


class Atoms(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))
        self.step_size = nn.Buffer(torch.tensor(0.02 + 0.01 * torch.rand(1).item()))


class Dictionary(nn.Module):
    """Two steps from zero, with the atoms normalised in each forward pass and a step size that is kept."""

    def __init__(self, channels: int, atoms: int, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.dn = Atoms(atoms, channels, size, size)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        atoms = self.dn.weight / self.dn.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        step = self.dn.step_size
        code = F.relu(step * F.conv2d(x, atoms, None, self.stride, self.padding) - 0.1 * step)
        extra = self.stride - 1 if x.shape[-1] % 2 == 0 else 0
        back = F.conv_transpose2d(code, atoms, None, self.stride, self.padding, extra)
        return F.relu(code + step * F.conv2d(x - back, atoms, None, self.stride, self.padding) - 0.1 * step)


class AuthorsSDNet(Net):
    """``layer0.0.dn``, ``layer0.1``, ``layer1`` ..., ``linear``, as the authors of SDNet save them."""

    def __init__(self, large: bool, layer: Callable[..., nn.Module], shortcut: str, listed: bool) -> None:
        super().__init__((64, 128, 256, 512), (2, 2, 2, 2), shortcut=shortcut, layer=layer, listed=listed)
        del self.conv1, self.bn1
        first = Dictionary(3, 64, 7, 2, 3) if large else Dictionary(3, 64, 3, 1, 1)
        pool = [Dictionary(64, 64, 3, 2, 1) if layer is Dictionary else nn.MaxPool2d(3, 2, 1)] if large else []
        self.layer0 = nn.Sequential(first, nn.BatchNorm2d(64), *pool)

    def start(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer0(x)
        return result


def settled(network: nn.Module) -> nn.Module:
    """The network with batch statistics unlike those of a new one."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(std=0.2)
    return network.eval()


@torch.no_grad()
def compare(network: nn.Module, spec: ModelSpec, path: Path, images: Tensor = IMAGES) -> None:
    """The logits of what was loaded from `path` are those of `network` on normalised images."""
    loaded = checkpoint.load_foreign(path, spec).model
    mean, std = torch.tensor(spec.mean).view(-1, 1, 1), torch.tensor(spec.std).view(-1, 1, 1)
    expected = network((images - mean) / std)
    assert expected.std() > 0.01
    torch.testing.assert_close(loaded(images), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("blocks", [3, 5])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_cifar_resnets_with_padded_shortcuts_load(tmp_path: Path, blocks: int, prefix: str) -> None:
    torch.manual_seed(0)
    network = settled(Net((16, 32, 64), (blocks,) * 3))
    state = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 91.7}, tmp_path / "theirs.th")
    spec = default_spec(f"resnet{6 * blocks + 2}", 10, (3, 32, 32), options={"shortcut": "A"})
    compare(network, spec, tmp_path / "theirs.th")


@pytest.mark.parametrize(("head", "shortcut"), [("linear", "shortcut"), ("fc", "downsample")])
def test_cifar_resnet18s_load(tmp_path: Path, head: str, shortcut: str) -> None:
    torch.manual_seed(0)
    network = settled(Net((64, 128, 256, 512), (2, 2, 2, 2), head, shortcut))
    torch.save({"net": network.state_dict(), "acc": 95.1, "epoch": 199}, tmp_path / "ckpt.pth")
    compare(network, default_spec("resnet18", 10, (3, 32, 32)), tmp_path / "ckpt.pth")


def test_a_torchvision_resnet_loads_under_our_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = settled(torchvision_models.resnet18(num_classes=7))
    torch.save(network.state_dict(), tmp_path / "resnet18.PTH")
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    compare(network, default_spec("resnet18", 7, (3, 96, 96)), tmp_path / "resnet18.PTH", images)


@pytest.mark.parametrize(
    ("name", "layer", "shortcut"),
    [
        ("sdnet18", convolution, "shortcut"),
        pytest.param("sdnet18-all", Dictionary, "shortcut", marks=pytest.mark.slow),
        pytest.param("sdnet18-all-plain", Dictionary, "none", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("large", [False, True], ids=["cifar", "imagenet"])
def test_weights_of_the_authors_of_sdnet_load(
    tmp_path: Path, name: str, layer: Callable[..., nn.Module], shortcut: str, large: bool
) -> None:
    torch.manual_seed(0)
    network = settled(AuthorsSDNet(large, layer, shortcut, listed=layer is Dictionary))
    beside = {  # as their training writes it
        "epoch": 3,
        "perf": torch.tensor(95.0),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "lr_scheduler": {"milestones": Counter([30, 60, 90]), "base_lrs": [0.1], "last_epoch": 3},
    }
    torch.save({"state_dict": network.state_dict(), **beside}, tmp_path / "checkpoint.pth.tar")
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)) if large else IMAGES
    compare(network, default_spec(name, 10, (3, *images.shape[2:])), tmp_path / "checkpoint.pth.tar", images)


SPEC = default_spec("sdnet-digits", 10, (1, 8, 8), options={"atoms": 4})


@pytest.fixture(scope="module")
def digits() -> nn.Module:
    torch.manual_seed(0)
    return settled(build(SPEC))


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


FORMS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "compiled": lambda state: under("_orig_mod.", state),
    "compiled and parallel": lambda state: under("module._orig_mod.", state),
    "parallel and compiled": lambda state: under("_orig_mod.module.", state),
    "a compiled part": lambda state: {name.replace("network.", "network._orig_mod."): it for name, it in state.items()},
    "Lightning": lambda state: {"state_dict": under("model.", state), "epoch": 3, "pytorch-lightning_version": "2.5"},
    "Lightning, compiled": lambda state: {"state_dict": under("model._orig_mod.", state), "loops": {"fit": {"a": 1}}},
    "net": lambda state: {"net": state, "acc": 91.2},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "two levels": lambda state: {"model": {"state_dict": state}, "epoch": 2},
    "settings": lambda state: {"state_dict": state, "arch": "sdnet", "args": Namespace(lr=0.1, amp=None)},
    "equal average": lambda state: {"state_dict": state, "state_dict_ema": dict(state)},
    "an optimizer": lambda state: {
        "model": state,
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    },
    "without counters": lambda state: {name: it for name, it in state.items() if "num_batches" not in name},
    "the network alone": lambda state: {
        name.removeprefix("network."): it for name, it in state.items() if name.startswith("network.")
    },
    "the network alone, parallel": lambda state: {
        name.replace("network.", "module."): it for name, it in state.items() if name.startswith("network.")
    },
}


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_saving_loads(tmp_path: Path, digits: nn.Module, form: str) -> None:
    torch.save(FORMS[form](digits.state_dict()), tmp_path / "theirs.pt")
    loaded = checkpoint.load_foreign(tmp_path / "theirs.pt", SPEC).model
    assert torch.equal(loaded(SMALL), digits(SMALL))


def behind_normalization() -> nn.Module:
    return nn.Sequential(Normalize((0.2, 0.3, 0.4), (0.5, 0.6, 0.7)), torchvision_models.resnet18(num_classes=10))


@torch.no_grad()
def test_weights_of_the_network_behind_a_normalisation_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = behind_normalization()
    settled(theirs)
    torch.save(theirs[1].state_dict(), tmp_path / "theirs.pth")  # type: ignore[index]
    spec = ModelSpec(name=f"{__name__}:behind_normalization", num_classes=10, image_shape=(3, 32, 32))
    torch.testing.assert_close(checkpoint.load_foreign(tmp_path / "theirs.pth", spec).model(IMAGES), theirs(IMAGES))


def changed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("pack", "sentence"),
    [
        (lambda state: {"state_dict": state, "state_dict_ema": changed(state)}, "state_dict and state_dict_ema"),
        (lambda state: {"backbone.weight": torch.ones(2, 2)}, "holds backbone.weight, and the model wants normalize"),
        (lambda state: {**state, "extra.bias": torch.ones(2)}, "holds extra.bias"),
        (
            lambda state: {name: it for name, it in state.items() if name != "network.head.bias"},
            "the model wants network.head.bias",
        ),
        (
            lambda state: {name: it for name, it in state.items() if not name.endswith(".lam")},
            "the model wants network.stem.0.lam",
        ),
        (
            lambda state: {**state, "network.head.bias": torch.ones(7)},
            r"network.head.bias \(7,\) instead of \(10,\)",
        ),
    ],
)
def test_a_refusal_names_what_was_found_and_wanted(
    tmp_path: Path, digits: nn.Module, pack: Callable[[dict[str, Tensor]], Any], sentence: str
) -> None:
    torch.save(pack(digits.state_dict()), tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.load_foreign(tmp_path / "theirs.pth", SPEC)


def test_the_step_size_of_the_authors_becomes_the_eigenvalue(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = settled(AuthorsSDNet(False, convolution, "shortcut", listed=False))
    torch.save(network.state_dict(), tmp_path / "final_state.pth.tar")
    loaded = checkpoint.load_foreign(tmp_path / "final_state.pth.tar", default_spec("sdnet18", 10, (3, 32, 32)))
    step_size = network.state_dict()["layer0.0.dn.step_size"].item()
    found = loaded.model.state_dict()["network.stem.0.dictionary.lipschitz"].item()
    assert math.isclose(found, 0.9 / step_size, rel_tol=1e-6)
