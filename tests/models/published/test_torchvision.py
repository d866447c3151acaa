"""Models of torchvision: built as torchvision builds them for their weights, with the normalisation of these."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum

import robustcsc as rc
from robustcsc.cli import main as cli_main
from robustcsc.errors import ModelError, StoreError, UnknownNameError
from robustcsc.measurements.commands import command_of
from robustcsc.models.catalog import ModelSpec
from robustcsc.models.checkpoint import load
from robustcsc.models.published.names import Published
from robustcsc.models.published.zoo_torchvision import facts, network

NAME = "torchvision:shufflenet_v2_x0_5@IMAGENET1K_V1"
FILE = "shufflenetv2_x0.5-f707e7126e.pth"
CLASSES = 1000


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small image for each class of ImageNet."""
    made = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (CLASSES, 12, 12, 3), dtype=np.uint8)
    for label, image in enumerate(pixels):
        folder = made / "test" / f"n{label:08}"
        folder.mkdir(parents=True)
        Image.fromarray(image).save(folder / "0.png")
    return made


@pytest.fixture
def place(thousand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with weights in the cache of torch.hub, and one small image for each class of ImageNet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(theirs().state_dict(), checkpoints / FILE)
    (tmp_path / "images").symlink_to(thousand)
    return tmp_path


def theirs() -> nn.Module:
    """A network of torchvision without normalisation, whose answers depend on the pixels."""
    torch.manual_seed(0)
    network: nn.Module = models.shufflenet_v2_x0_5()
    nn.init.normal_(network.get_parameter("fc.weight"))
    return network.eval()


def as_published(images: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def opened(name: str = NAME, **choices: Any) -> Any:
    return rc.open(name, data=rc.DataChoice("imagefolder", "images", limit=8), **choices)


@torch.no_grad()
def test_a_published_model_is_that_of_torchvision_behind_its_transforms(place: Path) -> None:
    session = opened()
    images = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(session.trained.model(images), theirs()(as_published(images)))
    spec = session.trained.spec
    assert (spec.name, spec.num_classes, spec.image_shape) == (NAME, CLASSES, (3, 224, 224))
    assert not (place / "runs").exists()


def test_it_is_measured_end_to_end_and_its_records_name_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = f"sweep --model {NAME} --data imagefolder --root images --limit 8 --corruptions fog --severities 3 --json"
    assert cli_main.main(typed.split()) == 0
    printed = capsys.readouterr()
    records = json.loads(printed.out)
    batch = next(iter(opened().images().batches(8)))
    with torch.no_grad():
        right = int((theirs()(as_published(batch.images)).argmax(1) == batch.labels).sum())
    assert (records[0]["met"], records[0]["total"], records[0]["model"]) == (right, 8, NAME)
    assert f"{NAME} on 8 clean images: {right} right" in printed.err
    run = "torchvision-shufflenet_v2_x0_5-IMAGENET1K_V1"
    assert records[0]["run"] == run
    (place / "torch" / "hub" / "checkpoints" / FILE).unlink()  # the run has the weights
    for again in (typed, typed.replace(f"--model {NAME}", f"--run {run}")):
        assert cli_main.main(again.split()) == 0
        assert json.loads(capsys.readouterr().out) == records
    repeated = command_of(opened(run).evaluate()[0]).words
    assert repeated[:5] == ["evaluate", "--run", run, "--model", NAME]
    assert cli_main.main([*repeated, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == records[:1]


def test_another_model_or_choice_is_not_taken_for_that_of_a_run(place: Path) -> None:
    opened().evaluate()
    run = "torchvision-shufflenet_v2_x0_5-IMAGENET1K_V1"
    assert rc.open(run, model=NAME).trained.weights == opened().trained.weights
    for name, build in (
        ("torchvision:resnet18@IMAGENET1K_V1", None),
        (NAME, rc.BuildChoice(mean=(0, 0, 0), std=(1, 1, 1))),
        (NAME, rc.BuildChoice(options={"dropout": 0.1})),
    ):
        with pytest.raises(StoreError, match="holds other weights"):
            rc.open(run, model=name, build=build)


@torch.no_grad()
def test_weights_of_a_file_take_the_classes_of_the_images_and_a_typed_normalisation(place: Path) -> None:
    network: nn.Module = models.shufflenet_v2_x0_5(num_classes=10).eval()
    torch.save({"state_dict": network.state_dict()}, "own.pth")
    grey = rc.BuildChoice(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    for name in sorted(Path("images/test").iterdir())[:10]:
        shutil.copytree(name, Path("ten/test") / name.name)
    session = rc.open(
        model="torchvision:shufflenet_v2_x0_5",
        weights="own.pth",
        build=grey,
        data=rc.DataChoice("imagefolder", "ten", image_size=64),
    )
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(session.trained.model(images), network(images * 2 - 1))
    (record,) = session.evaluate()
    assert record.total == 10
    assert load(Path("runs/torchvision-shufflenet_v2_x0_5/weights.safetensors")).weights == session.trained.weights


def test_names_and_options_that_do_not_exist_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="Unknown model of torchvision 'resnt18': did you mean 'resnet18'"):
        opened("torchvision:resnt18@IMAGENET1K_V1")
    with pytest.raises(UnknownNameError, match="weights of resnet50 'DEFAULT': choose one of IMAGENET1K_V1, "):
        opened("torchvision:resnet50@DEFAULT")
    with pytest.raises(ModelError, match=r"with --model-option width=3 cannot be built: .*'width'"):
        opened(build=rc.BuildChoice(options={"width": 3}))

    def unreachable(*args: object, **settings: object) -> None:
        raise OSError("<urlopen error no route>")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(ModelError, match=r"neither in the cache of torch.hub nor can they be fetched \(urlopen"):
        opened("torchvision:shufflenet_v2_x1_0@IMAGENET1K_V1")
    assert not (place / "runs").exists()


@pytest.mark.slow
def test_a_misspelt_name_is_told_before_attacks_fits_and_data_are_imported(tmp_path: Path) -> None:
    sentences = {
        "resnet81@IMAGENET1K_V1": "Unknown model of torchvision 'resnet81': did you mean 'resnet18'?",
        "resnet18@IMAGENET1K_V9": "Unknown weights of resnet18 'IMAGENET1K_V9': did you mean 'IMAGENET1K_V1'?",
        "resnet18@DEFAULT": "Unknown weights of resnet18 'DEFAULT': choose IMAGENET1K_V1.",
    }
    script = f"""
import sys
from robustcsc.cli.main import main
for typed in {[*sentences]}:
    assert main(["sweep", "--model", f"torchvision:{{typed}}", "--data", "textures"]) == 2
print([it for it in ("torchattacks", "sklearn", "robustcsc.data", "robustcsc.session.session") if it in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == "".join(f"Error: {sentence}\n" for sentence in sentences.values())


def test_weights_without_a_classifier_are_refused() -> None:
    with pytest.raises(ModelError) as refused:
        facts(Published("torchvision", "vgg16", "IMAGENET1K_FEATURES"))
    assert str(refused.value) == (
        "The weights torchvision:vgg16@IMAGENET1K_FEATURES have no classifier, so they name no class: type "
        "torchvision:vgg16@IMAGENET1K_V1."
    )


def every_weight() -> list[str]:
    names = models.list_models(module=models)
    return [f"{name}@{it.name}" for name in names for it in models.get_model_weights(name) if it.meta["categories"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", every_weight())
@pytest.mark.filterwarnings("ignore")
def test_every_network_is_the_one_that_torchvision_builds_for_its_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, *args, **settings: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda self, *args, **settings: None)
    model, weights = name.split("@")
    published = Published("torchvision", model, weights)
    found = facts(published)
    with torch.device("meta"):
        try:
            wanted = models.get_model(model, weights=weights)
        except NotImplementedError:
            pytest.skip("torchvision computes with tensors to build it")
        built = network(published, found.num_classes or 0, dict(found.options))
    for head in ("AuxLogits", "aux1", "aux2"):  # of training: torchvision drops them after loading
        for it in (built, wanted):
            if hasattr(it, head):
                setattr(it, head, None)
    assert repr(built) == repr(wanted)
    assert {n: t.shape for n, t in built.state_dict().items()} == {n: t.shape for n, t in wanted.state_dict().items()}
    plain = (bool, int, float, str, tuple)
    assert {k: v for k, v in vars(built).items() if isinstance(v, plain) and k != "aux_logits"} == {
        k: v for k, v in vars(wanted).items() if isinstance(v, plain) and k != "aux_logits"
    }


def test_a_specification_of_others_is_built_without_being_typed() -> None:
    spec = ModelSpec(name="torchvision:resnet18", num_classes=3, image_shape=(3, 32, 32))
    assert (spec.foreign, spec.own_code) == (True, False)
    own = ModelSpec(name="own:net", num_classes=3, image_shape=(3, 32, 32))
    assert (own.foreign, own.own_code) == (True, True)
