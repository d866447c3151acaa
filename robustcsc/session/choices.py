"""Which images are meant, on which device, and the folder of the run that is written to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from robustcsc import runs
from robustcsc.errors import DataError, RobustCSCError
from robustcsc.files import clear_partial
from robustcsc.locks import PATIENCE, alone, clear_locks, using
from robustcsc.measurements.records import Answers, ClassOrder, Location, Precision
from robustcsc.progress import Note, quiet
from robustcsc.roots import find_root
from robustcsc.runs import Run
from robustcsc.session.processor import has_bfloat16

if TYPE_CHECKING:  # a choice is made before torch is needed, and a report needs none
    import torch

    from robustcsc.data import ImageSet
    from robustcsc.models.checkpoint import Checkpoint
    from robustcsc.session.session import Session

#: Unreadable files that are named; of more only the number is told.
_NAMED_FILES = 5

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
        readers: Threads or processes that read images.
        limit: Number of test images to take, evenly spaced; all if ``None``.
        classes: File that names the model's classes by logit, as for `robustcsc.measurements.classes.read_classes`;
            not needed for synsets of ImageNet.
        answers: What answers are chosen from, if the class folders are only some of the model's classes:
            ``"all"`` of these (also if ``None``), or those of the ``"folder"``.

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
    readers: int = 2
    limit: int | None = None
    classes: str | Path | None = None
    answers: Answers | None = None

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
        from robustcsc.data import load
        from robustcsc.data.splits import evenly_spaced
        from robustcsc.session.suiting import answers_note, named, suited

        training = trained.training if trained else {}
        places = places or {}
        name = self.name or training.get("data") or next(reversed(places), None)
        if name is None:
            raise DataError("It is not known which images this model is for: add --data NAME (and --root FOLDER).")
        root, size, order = self.root, self.image_size, self.class_order
        place = _trained_on(training) if name == training.get("data") else Location()
        found = places.get(name, place)
        file = self.classes or training.get("classes")
        order = order or place.class_order or found.class_order or ("number" if file else None)
        if root is None and found.root:
            pattern = found.root if name == "webdataset" else None  # which is no folder
            root = pattern or find_root(name, found.root, download=self.download)
        # Of a folder it was told when the run first met the images.
        met = bool(found.root) and found.root == os.path.abspath(Path(root or "").expanduser())
        if size is None and name in ("imagefolder", "webdataset") and trained is not None:
            size = trained.spec.image_shape[1]
        images = load(
            name,
            root,
            split,
            download=self.download,
            image_size=size,
            readers=self.readers,
            class_order=order,
            note=quiet if met else note,
        )
        if file is not None:
            images = named(images, Path(file), trained.spec if trained else None, self.answers)
        if trained is not None:
            images = suited(images, trained.spec, self.answers)
            if images.location.answers is not None:
                note(answers_note(images, trained.spec.num_classes))
        limit = self.limit if limit is None and split == "test" else limit
        return images if limit is None else evenly_spaced(images, limit)


def _trained_on(training: Mapping[str, Any]) -> Location:
    """Returns where the training images were, as the facts of the training tell it."""
    root = training.get("root") or ""
    # A folder was ordered as text before trainings remembered the order.
    return Location(root=root, class_order=training.get("class_order", "text" if root else None))


def run_of(of: Session | Run | str) -> Run:
    """Returns the run that is meant by a session, itself, or its name or folder.

    Raises:
        StoreError: There is no such run.
    """
    if isinstance(of, str):
        return runs.find(of)
    return of if isinstance(of, Run) else of.run


def note_unreadable(left_out: Sequence[str], note: Note) -> None:
    """Tells which files had to be left out; to be called once the images have been read."""
    if left_out:
        more = "" if len(left_out) <= _NAMED_FILES else f" and {len(left_out) - _NAMED_FILES} more"
        count = "1 unreadable file was" if len(left_out) == 1 else f"{len(left_out)} unreadable files were"
        note(f"{count} left out: {', '.join(left_out[:_NAMED_FILES])}{more}.")


def choose_device(asked: DeviceName) -> torch.device:
    """Returns the device; ``auto`` takes a GPU if there is one.

    Raises:
        RobustCSCError: A GPU is asked for and there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise RobustCSCError("There is no usable CUDA device: use --device cpu.")
    return torch.device("cuda" if available and asked != "cpu" else "cpu")


def note_slow(precision: Precision, device: torch.device, note: Note) -> None:
    """Tells if a precision is a slow one here."""
    if precision == "bf16" and device.type == "cpu" and has_bfloat16() is False:
        note(
            "This processor has no unit for bfloat16 and computes it in software, several times slower than float32: "
            "the counts are those of --precision bf16, the time says nothing."
        )


@contextmanager
def written(run: Run) -> Iterator[Run]:
    """Makes the folder of a run unless it exists, and writes into it: what is there afterwards is whole.

    Several processes may do so at once. What killed ones did not finish goes first. If the block fails, folders that
    hold nothing go; if the run holds nothing by then that a repeated command would go on from, and nobody else is
    writing into it, everything goes that was not there before.

    Raises:
        StoreError: The name of a new run is not allowed, or its folder cannot be made.
    """
    made = [path for path in (run.folder, run.folder.parent) if not path.exists()]
    if not run.weights_path.exists():
        runs.create(os.path.relpath(run.folder, runs.RUNS), exist_ok=True)
    try:
        with ExitStack() as stack:
            with _changed_alone(run):
                before = {*run.folder.rglob("*")}
                others = stack.enter_context(using(run.folder))
                if not others():
                    clear_partial(run.folder)
                    clear_locks(run.folder)
            try:
                yield run
            except BaseException:
                with _changed_alone(run):
                    undone = not run.resumable and not others()
                    for path in sorted({*run.folder.rglob("*")} - before, reverse=True):  # first what lies in a folder
                        if path.is_dir():
                            _remove_if_empty(path)
                        elif undone:
                            path.unlink(missing_ok=True)
                raise
    except BaseException:
        for folder in made:
            _remove_if_empty(folder)
        raise


def _changed_alone(run: Run) -> AbstractContextManager[None]:
    return alone(run.folder / "run", f"Run {run.name!r} is being made", "choose another --run", patience=PATIENCE)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds something
        folder.rmdir()
