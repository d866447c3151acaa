import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robustcsc.data import load as load_images
from robustcsc.errors import CheckpointError, UnknownNameError
from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.csc import csc_layers
from robustcsc.layers.lambdas import set_lambda
from robustcsc.models import checkpoint
from robustcsc.models.catalog import ModelSpec, build, default_spec
from robustcsc.models.shipped import SHIPPED

SPEC = default_spec("sdnet-digits", 10, (1, 8, 8), options={"atoms": 8})
IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def trained(spec: ModelSpec = SPEC) -> nn.Module:
    """A model after two steps of training, at another lambda than it was built with."""
    torch.manual_seed(0)
    model = build(spec)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        model(IMAGES).square().sum().backward()
        optimizer.step()
        project_parameters(model)
    set_lambda(model, 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return trained()


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    result: Tensor = model(IMAGES)
    return result


def test_a_checkpoint_gives_back_model_spec_facts_and_hash(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "weights.safetensors"
    facts = {"data": "digits", "epochs": 2, "held_out": [1, 2], "device": "cpu"}
    checkpoint.save(path, SPEC, model, facts)
    loaded = checkpoint.load(path)
    assert torch.equal(logits(loaded.model), logits(model))
    assert loaded.spec == SPEC
    assert loaded.training == facts
    assert loaded.weights == checkpoint.weights_hash(model, SPEC)
    assert not any(module.training for module in loaded.model.modules())
    assert [layer.lam.item() for layer in csc_layers(loaded.model).values()] == [pytest.approx(0.3)]
    assert sorted(os.listdir(tmp_path)) == ["weights.safetensors"]  # nothing partial is left


def test_a_checkpoint_replaces_an_older_one(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "weights.safetensors"
    checkpoint.save(path, SPEC, build(SPEC), {"epochs": 0})
    checkpoint.save(path, SPEC, model, {"epochs": 2})
    assert checkpoint.load(path).training == {"epochs": 2}
    assert torch.equal(logits(checkpoint.load(path).model), logits(model))


def test_the_hash_sees_every_value_and_option_and_nothing_else(model: nn.Module) -> None:
    same, changed = build(SPEC), build(SPEC)
    for other in (same, changed):
        other.load_state_dict(model.state_dict())
    with torch.no_grad():
        parameter = changed.get_parameter("network.head.bias")
        parameter[3] = torch.nextafter(parameter[3], torch.tensor(9.0))
    assert checkpoint.weights_hash(same.train(), SPEC) == checkpoint.weights_hash(model, SPEC)
    assert checkpoint.weights_hash(changed, SPEC) != checkpoint.weights_hash(model, SPEC)
    other_steps = replace(SPEC, options={**SPEC.options, "num_steps": 5})
    assert checkpoint.weights_hash(model, other_steps) != checkpoint.weights_hash(model, SPEC)
    assert len(bytes.fromhex(checkpoint.weights_hash(model, SPEC))) == 32


@pytest.mark.parametrize(
    "pack",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 7},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
    ],
    ids=["plain", "state_dict", "model", "data-parallel", "data-parallel in state_dict"],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_foreign_state_dict_loads(
    tmp_path: Path, model: nn.Module, pack: Callable[[dict[str, Tensor]], Any], suffix: str
) -> None:
    path = tmp_path / f"theirs{suffix}"
    torch.save(pack(model.state_dict()), path)
    loaded = checkpoint.load_foreign(path, SPEC)
    assert torch.equal(logits(loaded.model), logits(model))
    assert loaded.weights == checkpoint.weights_hash(model, SPEC)
    assert (loaded.spec, loaded.training) == (SPEC, {})
    assert not any(module.training for module in loaded.model.modules())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_foreign_safetensors_load(tmp_path: Path, model: nn.Module, prefix: str) -> None:
    path = tmp_path / "theirs.safetensors"
    save_file({prefix + name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    assert torch.equal(logits(checkpoint.load_foreign(path, SPEC).model), logits(model))


def test_a_model_whose_own_parts_are_called_module_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "holder_of_module.py").write_text(
        "from torch import nn\n\n"
        "class Holder(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.module = nn.Linear(2, 2)\n\n"
        "    def forward(self, images):\n        return self.module(images.flatten(1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = default_spec("holder_of_module:Holder", 2, (1, 1, 2))
    weights = {"module.weight": torch.eye(2), "module.bias": torch.tensor([3.0, 4.0])}
    torch.save(weights, tmp_path / "theirs.pth")
    loaded = checkpoint.load_foreign(tmp_path / "theirs.pth", spec)
    for name, tensor in weights.items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # what torch says of a bare pickle
@pytest.mark.parametrize("write", ["torch", "torch, old format", "pickle"])
@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"state_dict": {"weight": trap}}])
def test_a_pickled_object_is_refused_without_being_executed(
    tmp_path: Path, write: str, wrap: Callable[[Trap], object]
) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "theirs.pth"
    if write == "pickle":
        path.write_bytes(pickle.dumps(wrap(Trap(sprung))))
    else:
        torch.save(wrap(Trap(sprung)), path, _use_new_zipfile_serialization=write == "torch")
    with pytest.raises(CheckpointError, match="does not hold plain tensors, and nothing else is ever unpickled"):
        checkpoint.load_foreign(path, SPEC)
    assert not sprung.exists()
    if write == "pickle":
        pickle.loads(path.read_bytes())
        assert sprung.exists()  # the trap does work


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {"epoch": 3}, {0: torch.ones(3)}, {"a": {}}, 7])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match="holds no state dict: save the model's state_dict"):
        checkpoint.load_foreign(tmp_path / "theirs.pth", SPEC)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02K", b"e.", b"PK\x03\x04", b"\x00" * 64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"theirs{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not hold plain tensors"):
        checkpoint.load_foreign(path, SPEC)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "weights.safetensors"
    checkpoint.save(path, SPEC, model, {})
    content = path.read_bytes()
    for length in (0, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="is not a safetensors checkpoint"):
            checkpoint.load(path)
        with pytest.raises(CheckpointError, match="does not hold plain tensors"):
            checkpoint.load_foreign(path, SPEC)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "nowhere" / name
    with pytest.raises(CheckpointError, match=f"There are no weights at .*{name}"):
        checkpoint.load_foreign(path, SPEC)
    with pytest.raises(CheckpointError, match=f"There are no weights at .*{name}"):
        checkpoint.load(path)


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a safetensors checkpoint"):
        checkpoint.load(tmp_path)
    with pytest.raises(CheckpointError, match="There are no weights"):
        checkpoint.load_foreign(tmp_path, SPEC)


def test_weights_of_another_architecture_are_refused(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "theirs.pth"
    torch.save(model.state_dict(), path)
    wider = default_spec("sdnet-digits", 11, (1, 8, 8), options={"atoms": 8})
    with pytest.raises(CheckpointError, match=r"2 tensors have another shape, network\.head\.weight \(10, 32\)"):
        checkpoint.load_foreign(path, wider)
    # With 16 atoms an SDNet differs from the ResNet in its stem alone.
    torch.save(build(default_spec("sdnet-digits", 10, (1, 8, 8), options={"atoms": 16})).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"it holds network\.stem\.0\.lam, .* wants network\.stem\.0\.weight"):
        checkpoint.load_foreign(path, default_spec("resnet-digits", 10, (1, 8, 8)))


def test_a_checkpoint_whose_weights_do_not_fit_its_own_spec_is_refused(tmp_path: Path, model: nn.Module) -> None:
    checkpoint.save(tmp_path / "weights.safetensors", default_spec("resnet-digits", 10, (1, 8, 8)), model, {})
    with pytest.raises(CheckpointError, match="weights of another architecture"):
        checkpoint.load(tmp_path / "weights.safetensors")


def test_safetensors_that_do_not_say_their_model_are_refused(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    with pytest.raises(CheckpointError, match="does not say which model it is for: name the model with --model"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "spec",
    ["", "{", "[]", "{}", json.dumps({**json.loads(SPEC.to_json()), "depth": 3})],
    ids=["empty", "broken", "a list", "no fields", "a field of the future"],
)
def test_a_description_that_cannot_be_read_is_refused(tmp_path: Path, spec: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"spec": spec})
    with pytest.raises(CheckpointError, match="in a way that this version cannot read"):
        checkpoint.load(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_checkpoint_loads_and_its_atoms_have_unit_norm(name: str) -> None:
    loaded = checkpoint.load_shipped(name)
    assert loaded.training["data"]
    for layer in csc_layers(loaded.model).values():
        atoms = layer.dictionary.weight.detach()
        torch.testing.assert_close(atoms.flatten(1).norm(dim=1), torch.ones(len(atoms)))
        assert layer.lam.item() == pytest.approx(layer.lam0)


@pytest.mark.parametrize(("name", "share"), [("sdnet-digits", 0.97), ("scn-digits", 0.97), ("mdeq-digits", 0.96)])
def test_the_shipped_digits_models_read_digits(name: str, share: float) -> None:
    images = load_images("digits", split="test")
    model = checkpoint.load_shipped(name).model
    with torch.no_grad():
        correct = sum((model(batch.images).argmax(1) == batch.labels).sum().item() for batch in images.batches(250))
    assert correct > share * len(images)


def test_an_unknown_shipped_checkpoint_is_answered_with_the_likely_one() -> None:
    with pytest.raises(UnknownNameError, match="Unknown shipped checkpoint 'sdnet-digit': did you mean 'sdnet-digits'"):
        checkpoint.load_shipped("sdnet-digit")


def test_code_that_only_a_checkpoint_names_is_not_run(tmp_path: Path) -> None:
    path, trap = tmp_path / "weights.safetensors", tmp_path / "trap"
    spec = ModelSpec(name="pathlib:Path.touch", num_classes=10, image_shape=(1, 8, 8), options={"self": str(trap)})
    checkpoint.save(path, spec, nn.Linear(2, 2), {})
    with pytest.raises(CheckpointError, match=r"add --model pathlib:Path\.touch if you trust it"):
        checkpoint.load(path)
    assert not trap.exists()
