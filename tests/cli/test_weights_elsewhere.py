"""Weights as they are published: options of the builder, and the normalisation that they were trained with."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from torch import Tensor, nn

import robustcsc as rc
from robustcsc.cli.main import app
from robustcsc.errors import CheckpointError, ModelError
from robustcsc.models.checkpoint import load

Command = Callable[..., Any]

MEAN, STD = (0.2, 0.5, 0.7), (0.1, 0.3, 0.9)
PUBLISHED = "--model resnet8 --weights theirs.th --data imagefolder --root images --run theirs"
BUILT = "--model-option shortcut=A --mean 0.2,0.5,0.7 --std 0.1,0.3,0.9"


class Block(nn.Module):
    """A basic block whose shortcut drops pixels and pads channels."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(planes_in, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), nn.BatchNorm2d(planes)
        self.stride, self.more = stride, (planes - planes_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        kept = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + kept)


class Theirs(nn.Module):
    """A ResNet-8 as others write it, without normalisation of pixels, and two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        self.layer1, self.layer2, self.layer3 = (nn.Sequential(Block(*it)) for it in widths)
        self.linear = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


@pytest.fixture
def published(place: Path) -> None:
    """Weights, and twelve images in the folders of the classes that their network gives them, six in each."""
    torch.manual_seed(0)
    network = Theirs().eval()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    pixels = (pixels * np.linspace(0.1, 1, 12).reshape(12, 1, 1, 1)).astype(np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        normalised = (images - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
        differences = network(normalised) @ torch.tensor([-1.0, 1.0])
        network.linear.bias[1] -= differences.sort().values[5:7].mean()
        labels = network(normalised).argmax(1)
    assert labels.sum() == 6
    torch.save({"state_dict": {f"module.{name}": it for name, it in network.state_dict().items()}}, "theirs.th")
    for index, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        folder = Path("images", "test", f"class{label}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")


@pytest.mark.usefixtures("published")
def test_published_weights_load_in_one_command(robustcsc: Command) -> None:
    done = robustcsc(f"evaluate {PUBLISHED} {BUILT} --json")
    assert done.code == 0, done.err
    (clean,) = json.loads(done.out)
    assert (clean["met"], clean["total"]) == (12, 12)
    spec = load(Path("runs/theirs/weights.safetensors")).spec
    assert (spec.options, spec.mean, spec.std) == ({"shortcut": "A"}, MEAN, STD)
    assert json.loads(robustcsc(f"evaluate {PUBLISHED} {BUILT} --json").out) == [clean]
    later = robustcsc("sweep --run theirs --corruptions gaussian_noise --severities 1 --json")  # the run knows the rest
    assert json.loads(later.out)[0] == clean


@pytest.mark.usefixtures("published")
def test_options_and_normalisation_are_part_of_the_weights(robustcsc: Command) -> None:
    (clean,) = json.loads(robustcsc(f"evaluate {PUBLISHED} {BUILT} --json").out)
    refused = robustcsc(f"evaluate {PUBLISHED} --model-option shortcut=A")
    assert refused.code == 2 and "The run 'theirs' holds other weights" in refused.err
    other = robustcsc(f"evaluate {PUBLISHED} --model-option shortcut=A --run other --json".replace("--run theirs", ""))
    (by_default,) = json.loads(other.out)
    assert by_default["weights"] != clean["weights"] and by_default["met"] < 12
    as_fractions = BUILT.replace("0.2,0.5,0.7", "51/255,0.5,7/10")
    assert json.loads(robustcsc(f"evaluate {PUBLISHED} {as_fractions} --json").out) == [clean]


@pytest.mark.usefixtures("published")
def test_a_session_takes_the_same(robustcsc: Command) -> None:
    (clean,) = json.loads(robustcsc(f"evaluate {PUBLISHED} {BUILT} --json").out)
    session = rc.open(
        "theirs",
        model="resnet8",
        weights="theirs.th",
        build=rc.BuildChoice(options={"shortcut": "A"}, mean=MEAN, std=STD),
        data=rc.DataChoice("imagefolder", "images"),
    )
    assert session.trained.weights == clean["weights"]
    assert session.evaluate()[0].met == 12
    with pytest.raises(CheckpointError, match="which a run knows of its own"):
        rc.open("theirs", build=rc.BuildChoice(mean=MEAN, std=STD))
    theirs = rc.open("module", model=network(), images=session.images(), build=rc.BuildChoice(mean=MEAN, std=STD))
    assert theirs.evaluate()[0].met == 12
    with pytest.raises(ModelError, match="A module is built already"):
        rc.open("own", model=Theirs(), images=session.images(), build=rc.BuildChoice(options={"shortcut": "A"}))


def network() -> nn.Module:
    """The network that the weights were saved of."""
    model = Theirs()
    model.load_state_dict(
        {name.removeprefix("module."): it for name, it in torch.load("theirs.th")["state_dict"].items()}
    )
    return model


REFUSED = {
    "padded shortcuts": (f"evaluate {PUBLISHED}", "a resnet8 with padded shortcuts: add --model-option shortcut=A."),
    "an unknown kind": (f"evaluate {PUBLISHED} --model-option shortcut=C", "shortcut must be A or B, got 'C'"),
    "an unknown option": (f"attack {PUBLISHED} --model-option atoms=3", "Unknown option of resnet8 'atoms': "),
    "no value": (f"uap {PUBLISHED} --model-option shortcut", "--model-option 'shortcut': write KEY=VALUE"),
    "one channel": (f"evaluate {PUBLISHED} --mean 0.5 --std 0.5", "one value per channel of the images, 3 and not 1"),
    "mean alone": (f"evaluate {PUBLISHED} --mean 0,0,0", "3 and not 0: give both --mean and --std."),
    "std alone": (f"random-noise {PUBLISHED} --std 1,1,1", "--mean needs one value per channel of the"),
    "std of 0": (f"evaluate {PUBLISHED} --mean 0,0,0 --std 1,0,1", "--std divides the pixels, so it has to be above 0"),
    "std below 0": (f"sweep {PUBLISHED} --mean 0,0,0 --std 1,-1,1", "--std needs numbers of at least 0, not -1."),
    "mean of nothing": (f"evaluate {PUBLISHED} --mean 0,nan,0 --std 1,1,1", "needs numbers of at least 0, not nan"),
    "mean in grey levels": (
        f"evaluate {PUBLISHED} --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375",
        "--mean is in pixel units of [0, 1], so 123.675 is too large: did you mean 123.675/255?",
    ),
    "std in grey levels": (f"evaluate {PUBLISHED} --mean 0,0,0 --std 255,255,255", "did you mean 255/255?"),
    "mean in words": (f"evaluate {PUBLISHED} --mean imagenet --std 1,1,1", "--mean 'imagenet' is no list of numbers"),
    "option without weights": (
        "evaluate --model resnet8 --model-option shortcut=A",
        "need both --model NAME and --weights",
    ),
    "option of a shipped model": ("evaluate --run sdnet-digits --model-option lam=1", "which a run knows of its own"),
    "mean of the latest run": ("attack --mean 0.5 --std 0.5", "which a run knows of its own"),
    "option of own code that has none": (
        f"evaluate {PUBLISHED} --model-option width=3".replace("resnet8", "guest:net"),
        "guest:net with --model-option width=3 cannot be built: TypeError: net() got an unexpected keyword",
    ),
}  # fmt: skip


@pytest.fixture
def guest(place: Path) -> Iterator[None]:
    import sys

    lines = ("from torch import nn", "def net():", "    return nn.Linear(1, 1)", "def wide(width=1):")
    more = "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10))"
    pair = (
        "class Pair(nn.Sequential):",
        "    def forward(self, images):",
        "        features = images.flatten(1)",
        "        return {'features': features, 'logits': self[0](features)}",
        "def pair():",
        "    return Pair(nn.Linear(64, 10))",
    )
    (place / "guest.py").write_text("\n".join((*lines, more, *pair)))
    yield
    sys.modules.pop("guest", None)


@pytest.mark.usefixtures("published", "guest")
@pytest.mark.parametrize(("typed", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(typed: str, sentence: str, robustcsc: Command) -> None:
    done = robustcsc(typed)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ") and sentence in done.err and done.err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.usefixtures("guest")
def test_a_factory_of_ones_own_takes_options(robustcsc: Command) -> None:
    state = {"1.weight": torch.zeros(5, 64), "1.bias": torch.zeros(5), "2.weight": torch.zeros(10, 5)}
    torch.save(state | {"2.bias": torch.eye(10)[3]}, "w.pth")
    typed = "evaluate --model guest:wide --weights w.pth --data digits --json"
    (clean,) = json.loads(robustcsc(f"{typed} --model-option width=5").out)
    assert clean["met"] == 51  # of the 500 test images, 51 are a three
    refused = robustcsc(f"{typed} --model-option width=4 --run other")
    assert refused.code == 2 and "instead of (4, 64)" in refused.err


@pytest.mark.usefixtures("guest")
def test_a_factory_of_ones_own_takes_a_normalisation_and_an_output(robustcsc: Command) -> None:
    state = {"0.weight": torch.zeros(10, 64), "0.bias": torch.zeros(10)}
    state["0.weight"][3], state["0.bias"][4] = 1.0, 0.0
    torch.save(state, "w.pth")
    typed = "evaluate --model guest:pair --weights w.pth --data digits --mean 0 --std 0.5 --json"
    several = robustcsc(typed)
    assert several.err == (
        "Error: guest:pair returns a dict of features, logits: choose the logits, as in --output features.\n"
    )
    unknown = robustcsc(f"{typed} --output logit")
    assert unknown.code == 2 and "returns no output 'logit': did you mean 'logits'?" in unknown.err
    done = robustcsc(f"{typed} --output logits")
    assert done.code == 0, done.err
    (clean,) = json.loads(done.out)
    assert clean["met"] == 51  # all pixels are counted for a three: of the 500 test images, 51 are one
    spec = load(Path("runs/guest-pair/weights.safetensors"), trusted="guest:pair").spec
    assert (spec.mean, spec.std, spec.output) == ((0.0,), (0.5,), "logits")
    later = robustcsc("attack --model guest:pair --steps 1 --limit 20 --json")  # the run knows the output
    assert later.code == 0, later.err
    assert "guest:pair on 20 clean images: 2 right, one finite logit per class" in later.err


def test_every_command_that_takes_weights_takes_options_and_normalisation() -> None:
    commands = [typer.main.get_command(app)]
    found = 0
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        named = {option for parameter in command.params for option in parameter.opts}
        if "--weights" in named:
            found += 1
            assert named >= {"--model", "--model-option", "--mean", "--std", "--output"}, command.name
    assert found > 10
