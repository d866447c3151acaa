"""Which model and which images are meant: a run, a shipped model, weights from elsewhere, the data of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from robustcsc import runs
from robustcsc.data import ImageSet, load
from robustcsc.data.roots import find_root
from robustcsc.data.splits import evenly_spaced
from robustcsc.errors import CheckpointError, DataError, ModelError, RobustCSCError, StoreError
from robustcsc.measurements.records import ClassOrder, Location
from robustcsc.models import checkpoint
from robustcsc.models.catalog import ModelSpec, default_spec, received, with_normalization
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.models.shipped import SHIPPED
from robustcsc.progress import Note, quiet
from robustcsc.runs import DEMO_RUN, Run

#: The shipped checkpoint of the run that stands in where there is none yet.
DEMO_CHECKPOINT = "sdnet-digits"

#: Unreadable files that are named; of more only the number is told.
_NAMED_FILES = 5

_OTHER_WEIGHTS = "The run {!r} holds other weights: choose another name (--run)."

_OF_WEIGHTS = (
    "--model-option, --mean, --std and --output say how to build a model for weights from elsewhere, which a run knows "
    "of its own: add --model and --weights, or leave them out."
)

DeviceName = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class DataChoice:
    """Which images are asked for; what is ``None`` is taken from what the run was measured with, or trained on.

    Attributes:
        name: Data set, a key of `robustcsc.data.DATASETS`.
        root: Folder with its files; one that is in neither is looked for in ``$ROBUSTCSC_DATA`` (`find_root`).
        download: Whether missing files may be fetched.
        image_size: Size that images of a folder are resized and cropped to.
        class_order: Order of class folders with numbers, as for `robustcsc.data.load`.
        workers: Threads or processes that read images.
        limit: Number of test images to take, evenly spaced; all if ``None``.

    Examples:
        >>> import robustcsc as rc
        >>> len(rc.open("sdnet-digits", data=rc.DataChoice(limit=50)).images())
        50
    """

    name: str | None = None
    root: str | Path | None = None
    download: bool = False
    image_size: int | None = None
    class_order: ClassOrder | None = None
    workers: int = 2
    limit: int | None = None

    def load(
        self,
        trained: Checkpoint | None,
        split: str,
        limit: int | None = None,
        note: Note = quiet,
        *,
        places: dict[str, Location] | None = None,
    ) -> ImageSet:
        """Returns the images, or `limit` of them, evenly spaced (image folders are sorted by class).

        Args:
            trained: The model they are for.
            split: ``"train"`` or ``"test"``.
            limit: How many to take; for the test split that of the choice if ``None``.
            note: Told what a folder was taken for, if that is in doubt.
            places: Where the run found images, by data set.

        Raises:
            DataError: Neither the user nor the run says which data set, it cannot be loaded, or it does not suit the
                model.
        """
        training = trained.training if trained else {}
        places = places or {}
        name = self.name or training.get("data") or next(reversed(places), None)
        if name is None:
            raise DataError("It is not known which images this model is for: give --data (and --root).")
        root, size, order = self.root, self.image_size, self.class_order
        place = _trained_on(training) if name == training.get("data") else Location()
        found = places.get(name, place)
        order = order or place.class_order or found.class_order
        if root is None and found.root:
            root = find_root(name, found.root, download=self.download)
        if found.root and found.root == os.path.abspath(Path(root or "").expanduser()):
            note = quiet  # it was told when the run first met the images
        if size is None and name == "imagefolder" and trained is not None:
            size = trained.spec.image_shape[1]
        images = load(
            name,
            root,
            split,
            download=self.download,
            image_size=size,
            workers=self.workers,
            class_order=order,
            note=note,
        )
        if trained is not None:
            check_suits(images, trained.spec)
        limit = self.limit if limit is None and split == "test" else limit
        return images if limit is None else evenly_spaced(images, limit)


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

    def spec(self, model: str, images: ImageSet, data: str) -> ModelSpec:
        """Returns the specification of a model for images of the data set called `data`.

        Raises:
            UnknownNameError: The catalog has no such model.
            ModelError: Mean and deviation do not suit the images or the model.
        """
        classes, options = len(images.classes), self.options
        spec = default_spec(model, classes, images.image_shape, normalization=data, options=options)
        return self.applied_to(spec)

    def applied_to(self, spec: ModelSpec) -> ModelSpec:
        """Returns a specification with the normalisation and the output of this choice, where it makes one.

        Raises:
            ModelError: Mean and deviation do not suit the images.
        """
        spec = with_normalization(spec, self.mean, self.std) if self.mean or self.std else spec
        return replace(spec, output=self.output or spec.output)


def _trained_on(training: Mapping[str, Any]) -> Location:
    """Returns where the training images were, as the facts of the training tell it."""
    root = training.get("root") or ""
    # A folder was ordered as text before trainings remembered the order.
    return Location(root=root, class_order=training.get("class_order", "text" if root else None))


def check_suits(images: ImageSet, spec: ModelSpec) -> None:
    """Refuses images that a model was not made for.

    Raises:
        DataError: Their shape or the number of classes differs.
    """
    made_for, given = (spec.image_shape, spec.num_classes), (images.image_shape, len(images.classes))
    if made_for != given:
        wanted, got = (f"{'x'.join(map(str, shape))} pixels in {count} classes" for shape, count in (made_for, given))
        raise DataError(
            f"{spec.name} was made for images of {wanted}, but {images.name} has {got}: "
            "choose other images or another model."
        )


def note_unreadable(left_out: Sequence[str], note: Note) -> None:
    """Tells which files had to be left out; to be called once the images have been read."""
    if left_out:
        more = "" if len(left_out) <= _NAMED_FILES else f" and {len(left_out) - _NAMED_FILES} more"
        count = "1 unreadable file was" if len(left_out) == 1 else f"{len(left_out)} unreadable files were"
        note(f"{count} left out: {', '.join(left_out[:_NAMED_FILES])}{more}.")


def find_model(
    name: str | None, model: str | None, weights: Path | None, data: DataChoice, note: Note, build: BuildChoice
) -> tuple[Run, Checkpoint]:
    """Returns a run and its checkpoint; writes nothing, also if the run is a new one.

    Without any choice this is the latest run; on a machine without runs the shipped digits model becomes one.

    Args:
        name: Name or folder of a run, or a shipped model.
        model: A model from elsewhere: a name in the catalog, or ``package.module:factory``.
        weights: Its weights.
        data: The images, which say the classes of a model from elsewhere.
        note: Told which model was taken where nobody named one.
        build: How a model from elsewhere is built.

    Raises:
        RobustCSCError: There is no such run or model, or its weights cannot be loaded.
    """
    run = runs.meant(name, model, weights)
    allow_own_code(model)
    if model is not None and weights is not None:
        return _adopted(run, model, weights, data, build, note)
    if build != BuildChoice():
        raise CheckpointError(_OF_WEIGHTS)
    if run.changed is not None or run.name not in (DEMO_RUN, *SHIPPED):
        return run, checkpoint.load(run.weights_path, trusted=model)
    if run.name in SHIPPED:
        note(f"Taking the shipped model {run.name} as {run.folder}.")
        return run, checkpoint.load_shipped(run.name)
    note(
        f"There is no run here yet: taking the shipped model {DEMO_CHECKPOINT} and the embedded digits as {run.folder}."
    )
    return run, checkpoint.load_shipped(DEMO_CHECKPOINT)


def _adopted(
    run: Run, model: str, weights: Path, data: DataChoice, build: BuildChoice, note: Note
) -> tuple[Run, Checkpoint]:
    """Returns the run with the weights of a model from elsewhere."""
    known = run.weights_path.exists()
    images = data.load(None, "test", note=quiet if known else note)
    spec = build.spec(model, images, data.name or "")
    at = images.location
    facts = {"data": data.name, "root": at.root or None, "class_order": at.class_order}
    trained = replace(checkpoint.load_foreign(weights, spec), training=facts)
    held = checkpoint.load(run.weights_path, trusted=model) if known else trained
    if held.weights != trained.weights:
        raise StoreError(_OTHER_WEIGHTS.format(run.name))
    return run, held


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
    kind = type(module)
    spec = ModelSpec(
        name=f"{kind.__module__}:{kind.__qualname__}", num_classes=len(images.classes), image_shape=images.image_shape
    )
    spec = build.applied_to(spec)
    model = received(module, spec)
    run, weights = Run(runs.RUNS / name), checkpoint.weights_hash(model, spec)
    if run.weights_path.exists() and checkpoint.saved_hash(run.weights_path) != weights:
        raise StoreError(_OTHER_WEIGHTS.format(run.name))
    return run, Checkpoint(spec=spec, model=model.eval(), weights=weights)


def allow_own_code(model: str | None) -> None:
    """Lets a model of the user's own, ``package.module:factory``, lie in the working directory."""
    if model is not None and ":" in model and "" not in sys.path:
        sys.path.append("")


def choose_device(asked: DeviceName) -> torch.device:
    """Returns the device; ``auto`` takes a GPU if there is one.

    Raises:
        RobustCSCError: A GPU is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise RobustCSCError("There is no usable CUDA device: use --device cpu.")
    return torch.device("cuda" if available and asked != "cpu" else "cpu")


@contextmanager
def written(run: Run) -> Iterator[Run]:
    """Makes the folder of a run unless it exists, and writes into it: what is there afterwards is whole.

    If the block fails, half-written files go, and so do folders that hold nothing. If the run holds
    nothing by then that a repeated command would go on from, everything goes that was not there before.

    Raises:
        StoreError: The name of a new run is not allowed, or its folder cannot be made.
    """
    before = {run.folder, run.folder.parent, *run.folder.rglob("*")} if run.folder.exists() else {run.folder.parent}
    before = {path for path in before if path.exists()}
    if not run.weights_path.exists():
        runs.create(os.path.relpath(run.folder, runs.RUNS), exist_ok=True)
    try:
        yield run
    except BaseException:
        undone = not run.resumable
        made = {run.folder, run.folder.parent, *run.folder.rglob("*")} - before
        for path in sorted(made, reverse=True):  # what lies in a folder first
            if path.is_dir():
                with suppress(OSError):  # it holds something
                    path.rmdir()
            elif undone or path.suffix == ".partial":
                path.unlink(missing_ok=True)
        raise
