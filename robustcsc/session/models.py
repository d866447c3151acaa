"""Which model is meant: a run, a shipped model, weights from elsewhere, a module of this process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from robustcsc import runs
from robustcsc.data import ImageSet
from robustcsc.errors import CheckpointError, ModelError, StoreError
from robustcsc.models import checkpoint
from robustcsc.models.catalog import ModelSpec, default_spec, received, with_normalization
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.models.published.facts import Facts
from robustcsc.models.published.names import published, weights_file
from robustcsc.models.published.places import facts_of
from robustcsc.models.shipped import SHIPPED
from robustcsc.progress import Note, quiet
from robustcsc.runs import DEMO_RUN, Run
from robustcsc.session.choices import DataChoice
from robustcsc.session.suiting import fitting

#: The shipped checkpoint of the run that stands in where there is none yet.
DEMO_CHECKPOINT = "sdnet-textures"

OTHER_WEIGHTS = "The run {!r} holds other weights: choose another name (--run)."

_OF_WEIGHTS = (
    "--model-option, --mean, --std and --output say how to build a model for weights from elsewhere, which a run knows "
    "of its own: add --model and --weights, or leave them out."
)


@dataclass(frozen=True, kw_only=True)
class BuildChoice:
    """How a model from elsewhere is built, or a module of this process is used.

    All of it is part of the weights' identity, and kept with them in the run.

    Attributes:
        options: Keyword arguments of the builder; those that are left out have their defaults. None for a module.
        mean: Mean per channel that the weights were trained with, in pixel units of [0, 1]; with `std`, or both empty
            for the default: that of the weights or the data set, and none for code of the user's own.
        std: Standard deviation per channel, above 0.
        output: Which output the logits are, of a network that returns a dictionary, a tuple or a dataclass: a key, a
            field or an index.

    Examples:
        >>> import robustcsc as rc, torch
        >>> from robustcsc.models.catalog import build, default_spec
        >>> small = build(default_spec("sdnet-digits", 10, (1, 8, 8), options={"atoms": 8}))
        >>> torch.save(small.state_dict(), "small.pth")
        >>> choice = rc.BuildChoice(options={"atoms": 8}, mean=(0.3,), std=(0.4,))
        >>> session = rc.open(model="sdnet-digits", weights="small.pth", build=choice, data=rc.DataChoice("digits"))
        >>> session.trained.spec.options, session.trained.spec.mean
        ({'atoms': 8}, (0.3,))
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    output: str = ""

    def spec(self, model: str, images: ImageSet, data: str, facts: Facts | None = None) -> ModelSpec:
        """Returns the specification of a model for images of the data set called `data`.

        Args:
            model: As for `find_model`.
            images: The images.
            data: The name of their data set.
            facts: What is known of a published model.

        Raises:
            UnknownNameError: The catalog has no such model.
            ModelError: Mean and deviation do not suit the images or the model.
        """
        facts = facts or Facts()
        options = {**facts.options, **self.options}
        classes = facts.num_classes or len(images.classes)
        spec = default_spec(model, classes, images.image_shape, normalization=data, options=options)
        if facts.mean and not self.mean:
            spec = with_normalization(spec, facts.mean, facts.std)
        return self.applied_to(replace(spec, output=facts.output))

    def agrees_with(self, spec: ModelSpec) -> bool:
        """Whether everything that was chosen is so in a specification."""
        chosen = (self.mean or spec.mean, self.std or spec.std, self.output or spec.output)
        return chosen == (spec.mean, spec.std, spec.output) and self.options.items() <= spec.options.items()

    def applied_to(self, spec: ModelSpec) -> ModelSpec:
        """Returns a specification with the normalisation and the output of this choice, where it makes one.

        Raises:
            ModelError: Mean and deviation do not suit the images.
        """
        spec = with_normalization(spec, self.mean, self.std) if self.mean or self.std else spec
        return replace(spec, output=self.output or spec.output)


def find_model(
    name: str | None, model: str | None, weights: Path | None, data: DataChoice, note: Note, build: BuildChoice
) -> tuple[Run, Checkpoint]:
    """Returns a run and its checkpoint; writes nothing, also if the run is a new one.

    Without any choice this is the latest run; on a machine without runs the shipped model for textures becomes one.

    Args:
        name: Name or folder of a run, or a shipped model.
        model: A model from elsewhere: a name in the catalog, a published model, or ``package.module:factory``.
        weights: Its weights, or where they are published, as in ``hf:OWNER/NAME``.
        data: The images, which say the classes of a model from elsewhere.
        note: Told which model was taken where nobody named one.
        build: How a model from elsewhere is built.

    Raises:
        RobustCSCError: There is no such run or model, or its weights cannot be loaded.
    """
    run = runs.meant(name, model, weights)
    allow_own_code(model)
    of_others = model is not None and published(model) is not None
    if model is not None and (weights is not None or (of_others and not run.weights_path.is_file())):
        return _adopted(run, model, weights, data, build, note)
    if of_others:
        held = checkpoint.load(run.weights_path)
        if model not in (held.spec.name, held.training.get("published")) or not build.agrees_with(held.spec):
            raise StoreError(OTHER_WEIGHTS.format(run.name))
        return run, held
    if build != BuildChoice():
        raise CheckpointError(_OF_WEIGHTS)
    if run.changed is not None or run.name not in (DEMO_RUN, *SHIPPED):
        return run, checkpoint.load(run.weights_path, trusted=model)
    if run.name in SHIPPED:
        note(f"{run.name} is the model that comes with the package, as there is no {run.folder} yet.")
        return run, checkpoint.load_shipped(run.name)
    note(
        f"There is no run here yet: {run.name} is {DEMO_CHECKPOINT}, which comes with the package, on the embedded, "
        "synthetic textures."
    )
    return run, checkpoint.load_shipped(DEMO_CHECKPOINT)


def _adopted(
    run: Run, model: str, weights: Path | None, data: DataChoice, build: BuildChoice, note: Note
) -> tuple[Run, Checkpoint]:
    """Returns the run with the weights of a model from elsewhere."""
    name = published(model)
    facts = Facts() if name is None else facts_of(name)
    if isinstance(facts, Path):
        if weights is not None or build != BuildChoice():
            raise CheckpointError(
                f"{model} is a run, which knows its weights and how it is built: leave --weights, --model-option, "
                "--mean, --std and --output out."
            )
        return run, _run_of_hub(facts, model)
    known = run.weights_path.exists()
    if data.image_size is None and data.name in ("imagefolder", "webdataset"):
        data = replace(data, image_size=facts.image_size)
    images = data.load(None, "test", note=quiet if known else note)
    at = images.location
    where = {"data": data.name, "root": at.root or None, "class_order": at.class_order}
    where |= {"classes": at.classes} if at.classes else {}
    state = facts.state

    def built(its: ImageSet) -> Checkpoint:
        spec = build.spec(model, its, data.name or "", facts)
        if weights is None and state is not None:
            return checkpoint.load_published(spec, state())
        return checkpoint.load_foreign(weights_file(weights or Path()), spec)

    trained = replace(fitting(images, built), training=where)
    held = checkpoint.load(run.weights_path, trusted=model) if known else trained
    if held.weights != trained.weights:
        raise StoreError(OTHER_WEIGHTS.format(run.name))
    return run, held


def _run_of_hub(weights: Path, model: str) -> Checkpoint:
    """Returns the checkpoint of a run that somebody put on the Hub, which knows how it is built."""
    held = checkpoint.load(weights)
    return replace(held, training={**held.training, "root": None, "published": model})


def adopt_module(module: nn.Module, name: str, images: ImageSet, build: BuildChoice) -> tuple[Run, Checkpoint]:
    """Returns the run of a module of this process.

    Commands can load the run again if the class of the module is a factory: ``--model package.module:Class``.

    Args:
        module: Images to logits; it is put in evaluation mode, and gets copies of its inputs from now on.
        name: Name of the run.
        images: Images it is made for.
        build: Its normalisation, unless it takes images in [0, 1], and which of its outputs the logits are.

    Raises:
        ModelError: The module fails, or does not return one logit per class, or there are options for its builder.
        StoreError: The run holds other weights.
    """
    if build.options:
        raise ModelError("A module is built already: leave the options of its builder out.")
    kind = f"{type(module).__module__}:{type(module).__qualname__}"

    def adopted(its: ImageSet) -> tuple[ModelSpec, nn.Module]:
        spec = ModelSpec(name=kind, num_classes=len(its.classes), image_shape=its.image_shape)
        spec = build.applied_to(spec)
        return spec, received(module, spec)

    spec, model = fitting(images, adopted)
    run, weights = Run(runs.RUNS / name), checkpoint.weights_hash(model, spec)
    if run.weights_path.exists() and checkpoint.saved_hash(run.weights_path) != weights:
        raise StoreError(OTHER_WEIGHTS.format(run.name))
    return run, Checkpoint(spec=spec, model=model.eval(), weights=weights)


def allow_own_code(model: str | None) -> None:
    """Lets a model of the user's own, ``package.module:factory``, lie in the working directory."""
    if model is not None and ":" in model and "" not in sys.path:
        sys.path.append("")
