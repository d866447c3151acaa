"""All models by name, and how to build a model from its specification."""

from __future__ import annotations

import importlib
import inspect
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any

from torch import nn

from robustcsc.errors import ModelError, RobustCSCError, UnknownNameError, error_words, grey_levels
from robustcsc.layers.csc import fit_image_size
from robustcsc.layers.normalize import Normalize
from robustcsc.layers.unit_dictionary import without_estimates
from robustcsc.measurements.facts import from_json, from_plain
from robustcsc.models import (
    ddl,
    detrame,
    mdeq,
    ml_csc,
    mnist_cnn,
    msd_csc,
    plainnet,
    res_csc,
    resnet,
    scn,
    sdnet,
    tddl,
    wide_resnet,
)
from robustcsc.models.builder import Builder
from robustcsc.models.guests import receive
from robustcsc.models.known import check_known, typed_options
from robustcsc.models.published.names import published
from robustcsc.models.published.places import network_of

#: Every model of the toolkit. To add one, write a builder in its family's file and a line in the family's `MODELS`.
MODELS: dict[str, Builder] = {
    name: builder
    for family in (
        *(resnet, sdnet, plainnet, wide_resnet, detrame, res_csc, msd_csc, ml_csc, tddl, mnist_cnn),
        *(mdeq, scn, ddl),
    )
    for name, builder in family.MODELS.items()
}

#: Options that a paper sets per data set, by model and data set.
DATA_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    name: {data: {"num_steps": num_steps} for data, num_steps in by_data.items()}
    for name, by_data in detrame.NUM_STEPS.items()
}

#: Mean and standard deviation per channel, in pixel units of [0, 1]. CIFAR-10's are those of the authors of SDNet.
NORMALIZATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "textures": ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)),  # ours: about the strength of CIFAR-10's, so that lambdas compare
    "svhn": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),  # in [0, 1], as DeTraMe-Net (section 5.2) and Wide Residual Networks
}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything needed to build a model, except its weights.

    Attributes:
        name: A key of `MODELS`, a published model (`robustcsc.models.published`), or ``package.module:factory`` for one
            of the user's own.
        num_classes: Number of logits.
        image_shape: ``(C, H, W)`` of the images the model is made for.
        mean: Mean per channel to subtract, in pixel units of [0, 1]; empty for a user's own model that normalises its
            input itself.
        std: Standard deviation per channel to divide by.
        options: Keyword arguments of the builder.
        output: Which output of the network the logits are, as for `robustcsc.models.guests.receive`.
    """

    name: str
    num_classes: int
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    output: str = ""

    @property
    def foreign(self) -> bool:
        """Whether it is a model from outside the package."""
        return ":" in self.name

    @property
    def own_code(self) -> bool:
        """Whether building it runs code of the user's own."""
        return self.foreign and published(self.name) is None

    def to_json(self) -> str:
        """Returns the specification as JSON; without an output it is as before there were any, and so are hashes."""
        return json.dumps({name: it for name, it in asdict(self).items() if it or name != "output"}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: A field is missing, unknown, of another type or outside its range.
            UnknownNameError: The catalog has no such model, or the model no such option.
            ModelError: The value of an option is of another kind.
        """
        fields = from_json(text, dict[str, Any])
        if unknown := [name for name in fields if name not in cls.__dataclass_fields__]:
            raise ValueError(f"{unknown[0]}: there is no such field")
        spec = from_plain(fields, cls)
        if spec.num_classes < 1 or min(spec.image_shape) < 1 or len(spec.mean) != len(spec.std):
            raise ValueError(f"{spec.num_classes} classes of {spec.image_shape} cannot be")
        if not (isfinite(sum(spec.mean)) and isfinite(sum(spec.std)) and all(it > 0 for it in spec.std)):
            raise ValueError(f"std: {spec.std} cannot be divided by")
        check_known(spec.name, spec.options)
        return spec


def default_spec(
    name: str,
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    normalization: str = "",
    options: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Returns the specification of a model with this project's defaults.

    Images of 96 pixels and more get the ImageNet form, smaller ones the CIFAR form. Images of three channels are
    normalised by the statistics of the data set `normalization`, a key of `NORMALIZATION`; by default those of CIFAR-10
    below 96 pixels and of ImageNet from there on. Other images are normalised with mean 0.5 and standard deviation 0.5.
    Options that a paper sets for that data set (`DATA_OPTIONS`) are filled in.

    Raises:
        UnknownNameError: If the catalog has no such model.
    """
    options = {**DATA_OPTIONS.get(name, {}).get(normalization, {}), **(options or {})}
    if ":" in name:  # a user's own code normalises its input itself
        mean, std = ((), ()) if published(name) is None else normalization_for(image_shape, normalization)
        return ModelSpec(
            name=name, num_classes=num_classes, image_shape=image_shape, mean=mean, std=std, options=options
        )
    if "form" in inspect.signature(_builder(name)).parameters and _is_large(image_shape):
        options.setdefault("form", "imagenet")
    mean, std = normalization_for(image_shape, normalization)
    return ModelSpec(name=name, num_classes=num_classes, image_shape=image_shape, mean=mean, std=std, options=options)


def with_normalization(spec: ModelSpec, mean: Sequence[float], std: Sequence[float]) -> ModelSpec:
    """Returns the specification with another mean and standard deviation per channel, in pixel units of [0, 1].

    Raises:
        ModelError: The values are not one per channel, means in [0, 1] and deviations above 0 and at most 1.
    """
    for option, values in (("--mean", mean), ("--std", std)):
        if len(values) != spec.image_shape[0]:
            raise ModelError(
                f"{option} needs one value per channel of the images, {spec.image_shape[0]} and not {len(values)}: "
                "give both --mean and --std."
            )
        for value in values:
            if not (isfinite(value) and value >= 0):
                raise ModelError(f"{option} needs numbers of at least 0, not {value:g}.")
            if value > 1:
                raise ModelError(grey_levels(f"{option} is", value))
    if min(std) == 0:
        raise ModelError("--std divides the pixels, so it has to be above 0: write 1 to leave them as they are.")
    return replace(spec, mean=tuple(map(float, mean)), std=tuple(map(float, std)))


def normalization_for(
    image_shape: tuple[int, int, int], dataset: str = ""
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation per channel: of a data set, or the usual ones of images of this shape."""
    mean, std = NORMALIZATION.get(dataset) or NORMALIZATION["imagenet" if _is_large(image_shape) else "cifar10"]
    channels = image_shape[0]
    return (mean, std) if len(mean) == channels else ((0.5,) * channels, (0.5,) * channels)


def _is_large(image_shape: tuple[int, int, int]) -> bool:
    return min(image_shape[1:]) >= 96


def all_options(spec: ModelSpec) -> dict[str, Any]:
    """Returns the options of `spec`, completed by the defaults of its builder."""
    if spec.foreign:
        return spec.options
    parameters = inspect.signature(_builder(spec.name)).parameters.values()
    # The image size is not an option, because `build` takes it from the specification.
    defaults = {it.name: it.default for it in parameters if it.kind is it.KEYWORD_ONLY and it.name != "image_size"}
    return {**defaults, **spec.options}


def build(spec: ModelSpec) -> nn.Module:
    """Returns the model of `spec` with fresh weights: images ``(N, C, H, W)`` in [0, 1] to logits.

    Raises:
        UnknownNameError: If the catalog has no such model.
        ModelError: If the builder refuses the options, or a user's factory or its model fails.
    """
    if not spec.foreign:
        return _build_own(spec)
    model = received(_network_from_elsewhere(spec), spec)
    fit_image_size(model, spec.image_shape)
    return model


def _build_own(spec: ModelSpec) -> nn.Module:
    builder = _builder(spec.name)
    # Only networks with layers that depend on the image size take it as an argument.
    sized = "image_size" in inspect.signature(builder).parameters
    options = {"image_size": spec.image_shape[1:]} | spec.options if sized else spec.options
    try:
        with without_estimates():  # before the sizes of their images are known
            network = builder(spec.num_classes, spec.image_shape[0], **options)
        model = _normalising(network, spec)
        fit_image_size(model, spec.image_shape)
    except Exception as error:  # torch raises what it likes at a size that makes no sense
        cause = str(error).partition("\n")[0].rstrip(".:")
        raise ModelError(f"{_as_chosen(spec)} cannot be built: {cause or type(error).__name__}.") from error
    return model


def _as_chosen(spec: ModelSpec) -> str:
    """Returns the name of a model with its options, for messages; the configuration of a repository is not typed."""
    options = typed_options({name: it for name, it in spec.options.items() if not isinstance(it, Mapping)})
    return f"{spec.name} with {options}" if options else spec.name


def _normalising(network: nn.Module, spec: ModelSpec) -> nn.Module:
    return nn.Sequential(OrderedDict(normalize=Normalize(spec.mean, spec.std), network=network))


def _network_from_elsewhere(spec: ModelSpec) -> nn.Module:
    known = published(spec.name)
    try:
        if known is not None:
            return network_of(known, spec.num_classes, spec.image_shape[0], spec.options)
        factory = _factory(spec)
        model = factory(**spec.options)
    except RobustCSCError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{_as_chosen(spec)} cannot be built: {error_words(error)}.") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{spec.name} returned a {type(model).__name__}: it must return an nn.Module.")
    return model


def _factory(spec: ModelSpec) -> Callable[..., object]:
    module_name, _, attribute = spec.name.partition(":")
    try:
        factory: Callable[..., object] = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # the module runs when it is imported
        raise ModelError(
            f"Cannot import {spec.name!r} ({error_words(error)}): give --model package.module:factory with the package "
            "on PYTHONPATH."
        ) from error
    return factory


def received(network: nn.Module, spec: ModelSpec) -> nn.Module:
    """Returns a network from outside the package behind the normalisation of its specification, as a guest.

    Raises:
        ModelError: It fails, or does not return one logit per class.
    """
    model = _normalising(network, spec) if spec.mean else network
    receive(model, _as_chosen(spec), spec.num_classes, spec.image_shape, spec.output)
    return model


def _builder(name: str) -> Builder:
    if name not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    return MODELS[name]
