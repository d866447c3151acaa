"""What most commands start from: a run, its model, its images. Heavy imports stay inside the functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robustcsc import runs
from robustcsc.cli.console import note
from robustcsc.errors import CheckpointError, DataError, RobustCSCError
from robustcsc.runs import Run

if TYPE_CHECKING:
    import torch

    from robustcsc.data import ImageSet
    from robustcsc.evaluation.subject import Subject
    from robustcsc.models.checkpoint import Checkpoint

#: Run that stands in where there is none yet, and the shipped checkpoint it gets.
DEMO_RUN, DEMO_CHECKPOINT = "digits-demo", "sdnet-digits"


@dataclass(frozen=True)
class DataChoice:
    """Which images a command was asked to use; what is ``None`` is taken from the training of the run."""

    name: str | None = None
    root: Path | None = None
    download: bool = False
    image_size: int | None = None
    workers: int = 2

    def load(self, trained: Checkpoint | None, split: str, limit: int | None = None) -> ImageSet:
        """Returns the images, or `limit` of them, evenly spaced (image folders are sorted by class).

        Raises:
            DataError: If neither the user nor the run says which data set, or it cannot be loaded.
        """
        import torch

        from robustcsc.data import load

        training = trained.training if trained else {}
        name = self.name or training.get("data")
        if name is None:
            raise DataError("It is not known which images this model is for: give --data (and --root).")
        root = self.root or (Path(training["root"]) if name == training.get("data") and training.get("root") else None)
        images = load(name, root, split, download=self.download, image_size=self.image_size, workers=self.workers)
        if limit is not None and limit < len(images):
            images = images.subset(torch.arange(limit) * len(images) // limit)
        if images.unreadable:
            note(f"{len(images.unreadable)} unreadable image files are left out, for example {images.unreadable[0]}.")
        return images


@dataclass(frozen=True)
class ModelChoice:
    """Which model a command was asked to use: a run's, or one of the user's own with its weights."""

    run: str | None = None
    model: str | None = None
    weights: Path | None = None

    def open(self, data: DataChoice) -> tuple[Run, Checkpoint]:
        """Returns the run and its checkpoint.

        Without any choice this is the latest run; on a machine without runs the shipped digits model becomes one.

        Raises:
            RobustCSCError: If there is no such run or model, or its weights cannot be loaded.
        """
        from robustcsc.models import checkpoint

        if self.model is not None or self.weights is not None:
            return self._adopt(data)
        run = runs.find(self.run) if self.run else latest_run() or demo_run()
        return run, checkpoint.load(run.weights_path)

    def _adopt(self, data: DataChoice) -> tuple[Run, Checkpoint]:
        """Makes a run of foreign weights."""
        from robustcsc.models import checkpoint
        from robustcsc.models.catalog import default_spec

        if self.model is None or self.weights is None:
            raise CheckpointError(
                "Foreign weights need both: --model NAME (or package.module:factory) and --weights FILE."
            )
        images = data.load(None, "test")
        spec = default_spec(self.model, len(images.classes), images.image_shape)
        trained = checkpoint.load_foreign(self.weights, spec)
        run = runs.create(self.run or self.model.replace(":", "-"), exist_ok=True)
        facts = {"data": data.name, "root": str(data.root.absolute()) if data.root else None}
        checkpoint.save(run.weights_path, spec, trained.model, facts)
        return run, checkpoint.load(run.weights_path)


def latest_run() -> Run | None:
    """Returns the run with weights or results that changed last, if there is any."""
    run = runs.latest()
    if run is not None and not run.weights_path.is_file():
        raise CheckpointError(
            f"The latest run {run.name!r} has no weights yet: finish its training, or choose with --run."
        )
    return run


def demo_run() -> Run:
    """Returns the run of the shipped digits model, made on first use, and says so."""
    from robustcsc.models import checkpoint

    run = runs.create(DEMO_RUN, exist_ok=True)
    if not run.weights_path.is_file():
        shipped = checkpoint.load_shipped(DEMO_CHECKPOINT)
        checkpoint.save(run.weights_path, shipped.spec, shipped.model, shipped.training)
    note(f"There is no run here yet: using the shipped model {DEMO_CHECKPOINT} on the embedded digits ({run.folder}).")
    return run


def choose_device(asked: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Returns the device; ``auto`` takes a GPU if there is one.

    Raises:
        RobustCSCError: If a GPU is asked for and there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise RobustCSCError("There is no usable CUDA device: use --device cpu.")
    return torch.device("cuda" if available and asked != "cpu" else "cpu")


def open_subject(
    choice: ModelChoice, data: DataChoice, device: Literal["auto", "cpu", "cuda"]
) -> tuple[Run, Checkpoint, Subject]:
    """Returns the run, its checkpoint, and the subject to be measured."""
    from robustcsc.evaluation.subject import Subject

    run, trained = choice.open(data)
    return run, trained, Subject.of(run, trained, choose_device(device))
