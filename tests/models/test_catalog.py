import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robustcsc.errors import ModelError, RobustCSCError, UnknownNameError
from robustcsc.layers.csc import csc_layers
from robustcsc.models.catalog import MODELS, NORMALIZATION, ModelSpec, all_options, build, default_spec

FACTORY = """
from torch import nn

from robustcsc.layers.csc import CSCConv2d


def small(*, width: int = 2) -> nn.Module:
    return nn.Sequential(CSCConv2d(1, width, 3), nn.Flatten(), nn.LazyLinear(3))


def nothing() -> None:
    return None


number = 3
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Puts a user's package on the path; returns its name."""
    package = tmp_path / "users_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    return "users_package.nets"


@pytest.mark.parametrize(("size", "form"), [((32, 32), None), ((95, 200), None), ((96, 96), "imagenet")])
def test_the_imagenet_form_begins_at_96_pixels(size: tuple[int, int], form: str | None) -> None:
    spec = default_spec("sdnet18", 10, (3, *size))
    assert spec.options.get("form") == form
    assert (spec.mean, spec.std) == NORMALIZATION["imagenet" if form else "cifar10"]


def test_a_form_that_was_asked_for_stays() -> None:
    spec = default_spec("resnet18", 10, (3, 224, 224), options={"form": "cifar"})
    assert spec.options == {"form": "cifar"}


def test_a_model_of_one_form_is_given_none() -> None:
    assert default_spec("sdnet20", 10, (3, 224, 224)).options == {}


def test_all_options_have_the_defaults_of_the_builder() -> None:
    assert all_options(default_spec("detrame-resnet8", 10, (3, 32, 32))) == {"num_steps": 3}
    asked = default_spec("detrame-resnet8", 10, (3, 32, 32), options={"num_steps": 5})
    assert all_options(asked) == {"num_steps": 5}


def test_normalisation_is_by_name_and_centred_for_images_that_are_not_coloured() -> None:
    assert default_spec("sdnet18", 10, (3, 32, 32), normalization="cifar100").mean == (0.5071, 0.4865, 0.4409)
    grey = default_spec("sdnet18", 10, (1, 28, 28), normalization="cifar100")
    assert (grey.mean, grey.std) == ((0.5,), (0.5,))


def test_a_spec_survives_its_json() -> None:
    spec = default_spec("sdnet18", 7, (3, 96, 128), options={"lam": 0.25, "signed": True})
    assert ModelSpec.from_json(spec.to_json()) == spec


def by_depth() -> Iterator[object]:
    """Names of models; networks of 34 layers and more repeat the shallower ones of their families."""
    for name in sorted(MODELS):
        deep = any(int(depth) >= 34 for depth in re.findall(r"\d+", name))
        yield pytest.param(name, marks=pytest.mark.slow) if deep else name


@pytest.mark.parametrize("name", [*by_depth()])
def test_every_model_takes_classes_channels_and_named_options_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classes, channels, *options = inspect.signature(MODELS[name]).parameters.values()
    assert (classes.name, channels.name) == ("num_classes", "in_channels")
    assert all(option.kind is option.KEYWORD_ONLY and option.default is not option.empty for option in options)
    # Most of the time otherwise: without data, PyTorch takes normalisation apart in Python.
    monkeypatch.setattr(
        nn.BatchNorm2d, "forward", lambda norm, features: features + torch.ones(norm.num_features, 1, 1)
    )
    monkeypatch.setattr(nn.GroupNorm, "forward", lambda norm, features: features + torch.ones(norm.num_channels, 1, 1))
    with torch.device("meta"):
        quick = {"num_steps": 1, "gradient": "unrolled"}  # the implicit gradient is wrong after one step
        few = {option.name: quick[option.name] for option in options if option.name in quick}
        model = build(default_spec(name, 7, (1, 16, 16), options=few))
        assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 7)


def test_normalisation_is_part_of_the_model() -> None:
    torch.manual_seed(0)
    spec = ModelSpec(name="resnet-digits", num_classes=3, image_shape=(1, 8, 8), mean=(0.5,), std=(0.25,))
    model = build(spec).eval()
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(images), model.get_submodule("network")((images - 0.5) / 0.25))


def test_building_estimates_step_sizes_for_the_image_size() -> None:
    torch.manual_seed(0)
    model = build(default_spec("sdnet-digits", 10, (1, 8, 8)))
    (layer,) = csc_layers(model).values()
    assert layer.dictionary.eigenvector.shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"lamda": 0.1}, "unexpected keyword argument 'lamda'"),
        ({"lam": -1.0}, "lam must be at least 0, got -1.0"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"form": "CIFAR"}, "form must be cifar or imagenet, got 'CIFAR'"),
        ({"lam": "abc"}, "--model-option lam=abc cannot be built: "),
    ],
)
def test_options_that_do_not_exist_or_make_no_sense_are_refused_in_one_sentence(
    options: dict[str, Any], cause: str
) -> None:
    with pytest.raises(RobustCSCError, match=cause) as caught:
        build(default_spec("sdnet18", 10, (3, 8, 8), options=options))
    message = str(caught.value)
    assert message.startswith("sdnet18 with --model-option ") and " cannot be built: " in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("atoms", ["abc", -3, 0, 10**15])
def test_what_torch_says_of_an_option_is_one_sentence(atoms: object) -> None:
    with pytest.raises(ModelError) as caught:
        build(default_spec("sdnet-digits", 10, (1, 8, 8), options={"atoms": atoms}))
    message = str(caught.value)
    assert message.startswith(f"sdnet-digits with --model-option atoms={atoms} cannot be built: ")
    assert message.endswith(".") and "\n" not in message


def test_an_option_with_which_a_users_model_fails_on_images_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from torch import nn\n\ndef net(width):\n    return nn.Sequential(nn.Flatten(), nn.Linear(width, 3))\n"
    (tmp_path / "wide.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"^wide:net with --model-option width=5 fails on images \(2, 1, 6, 6\): "):
        build(default_spec("wide:net", 3, (1, 6, 6), options={"width": 5}))


@pytest.mark.parametrize("call", [lambda spec: build(spec), lambda spec: default_spec(spec.name, 10, (3, 32, 32))])
def test_an_unknown_model_is_answered_with_the_likely_one(call: Any) -> None:
    spec = replace(default_spec("sdnet18", 10, (3, 32, 32)), name="sdnet-18")
    with pytest.raises(UnknownNameError, match="Unknown model 'sdnet-18': did you mean 'sdnet18'"):
        call(spec)


def test_a_model_of_the_users_own_is_built_as_it_is(factory: str) -> None:
    spec = default_spec(f"{factory}:small", 3, (1, 6, 6), options={"width": 4})
    assert (spec.mean, spec.std) == ((), ())
    model = build(spec)
    assert isinstance(model, nn.Sequential)
    assert len(model) == 3  # nothing was put in front
    (layer,) = csc_layers(model).values()
    assert layer.dictionary.weight.shape == (4, 1, 3, 3)
    assert layer.dictionary.eigenvector.shape == (1, 1, 6, 6)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("no_such_package.nets:small", "Cannot import 'no_such_package.nets:small' .*No module named"),
        ("{factory}:missing", "Cannot import .*has no attribute 'missing'.*package.module:factory"),
        (":small", "Cannot import ':small'"),
        ("{factory}:", "Cannot import"),
        ("{factory}:nothing", "returned a NoneType: it must return an nn.Module"),
        ("{factory}:number", "'int' object is not callable"),
    ],
)
def test_a_factory_that_gives_no_model_is_refused(factory: str, name: str, cause: str) -> None:
    with pytest.raises(RobustCSCError, match=cause):
        build(default_spec(name.format(factory=factory), 3, (1, 6, 6)))


def test_options_that_a_users_factory_does_not_take_are_refused(factory: str) -> None:
    with pytest.raises(
        RobustCSCError, match=r"with --model-option depth=3 cannot be built: .*unexpected keyword argument 'depth'"
    ):
        build(default_spec(f"{factory}:small", 3, (1, 6, 6), options={"depth": 3}))
