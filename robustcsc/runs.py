"""Run folders: where the weights, lambda fits, results and reports of one run live."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from robustcsc.errors import CheckpointError, StoreError, hint
from robustcsc.files import check_writable, write_whole
from robustcsc.locks import PATIENCE, alone
from robustcsc.measurements.facts import from_sealed_json, replace, to_sealed_json
from robustcsc.measurements.fits import FAMILIES
from robustcsc.measurements.records import Location, Precision
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.trainings import Training
from robustcsc.models.published.names import check, published, weights_file
from robustcsc.models.shipped import SHIPPED

#: The folder that holds all runs unless the user names another.
RUNS = Path("runs")

#: Bytes of the name of a run: file systems have room for 255, of which temporary names take some.
LONGEST = 200

#: The run of the shipped model for textures, which stands in where there is no run yet.
DEMO_RUN = "textures-demo"


@dataclass(frozen=True)
class Run:
    """One run: a folder and the names of what is in it. Making a `Run` touches no file.

    Attributes:
        folder: The folder of the run, usually ``runs/<name>``.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of the run: the last part of its folder."""
        return Path(os.path.abspath(self.folder)).name

    @property
    def weights_path(self) -> Path:
        """The trained weights with the description of their model."""
        return self.folder / "weights.safetensors"

    def making_weights(self, *, patience: float = 0.0) -> AbstractContextManager[None]:
        """Returns what keeps other processes from training the run, or giving it weights, for a block; as `alone`."""
        doing = f"Run {self.name!r} is being trained"
        return alone(self.weights_path, doing, "choose another --run", patience=patience)

    @property
    def training_path(self) -> Path:
        """The state from which an interrupted training resumes."""
        return self.folder / "training.pt"

    @property
    def store_path(self) -> Path:
        """The results."""
        return self.folder / "results.sqlite"

    @property
    def results_path(self) -> Path:
        """The results as CSV."""
        return self.folder / "results.csv"

    @property
    def reports(self) -> Path:
        """The folder of tables, plots and pages."""
        return self.folder / "reports"

    @property
    def resumable(self) -> bool:
        """Whether it has something that a repeated command goes on from: a training state, perturbations, records."""
        if self.training_path.exists() or any(self.perturbations.glob("*")):
            return True
        try:
            with ResultStore(self.store_path, read_only=True) as store:
                return bool(store.records())
        except StoreError:  # there is something, whatever it is
            return True

    def check_writable(self) -> None:
        """Refuses a run that cannot be written to, before any work is done; makes nothing.

        Raises:
            StoreError: Its folder or its store cannot be made or changed, or the store cannot be read.
        """
        check_writable(self.folder, "The run folder", folder=True)
        with ResultStore(self.store_path, read_only=True):
            if self.store_path.exists() and not os.access(self.store_path, os.W_OK):
                raise StoreError(f"{self.store_path} cannot be written to: make it writable, or choose another --run.")

    @property
    def places_path(self) -> Path:
        """Where the images were that it was measured with, by data set."""
        return self.folder / "data.json"

    @property
    def places(self) -> dict[str, Location]:
        """Where the images were that it was measured with, by data set, the last one at the end.

        Raises:
            StoreError: The file that tells it is damaged.
        """
        try:
            return from_sealed_json(self.places_path.read_bytes(), dict[str, Location])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.places_path} cannot be read ({error}): delete it, and add --root.") from error

    def remember(self, location: Location) -> None:
        """Keeps where images were, for commands without ``--root``; nothing for images without a folder."""
        place = replace(location, limit=None)
        if not place.root or [*self.places.items()][-1:] == [(place.data, place)]:
            return
        doing = f"What run {self.name!r} was measured with is being written"
        with alone(self.places_path, doing, "choose another --run", patience=PATIENCE):
            places = self.places
            places.pop(place.data, None)
            write_whole(self.places_path, to_sealed_json({**places, place.data: place}))

    @property
    def experiments(self) -> Path:
        """The folder of the experiment files that the run was measured with, under their own names."""
        return self.folder / "experiments"

    @property
    def perturbations(self) -> Path:
        """The folder of universal perturbations."""
        return self.folder / "perturbations"

    def fit_path(self, noise: str, precision: Precision = "fp32") -> Path:
        """Returns where the lambda fit of a noise family (``"gaussian"``, ``"pooled"``, ...) is kept."""
        return self.folder / "lambda" / (f"{noise}.json" if precision == "fp32" else f"{noise}-{precision}.json")

    def fit_paths(self, precision: Precision = "fp32") -> dict[str, Path]:
        """Returns the files of its lambda fits in one precision, by noise family."""
        paths = {name: self.fit_path(name, precision) for name in FAMILIES}
        return {name: path for name, path in paths.items() if path.is_file()}

    @property
    def changed(self) -> int | None:
        """When weights, training state, results or a lambda fit changed last, in nanoseconds.

        ``None`` if the run has none of them yet.

        Raises:
            StoreError: The folder cannot be read.
        """
        contents = [self.weights_path, self.training_path, self.store_path]
        times = []
        try:
            contents += self.fit_path("any").parent.glob("*.json")
            for path in contents:
                try:
                    times.append(path.stat().st_mtime_ns)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # not made yet, or just replaced by another process
        except OSError as error:
            raise StoreError(f"The run {self.folder} cannot be read: {error.strerror or error}.") from error
        return max(times, default=None)


def existing(root: Path = RUNS) -> list[Run]:
    """Returns all runs in `root`, also empty ones, by name; a `root` that does not exist has none.

    Raises:
        StoreError: `root` is not a folder or cannot be read.
    """
    try:
        folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"The folder of runs {root} cannot be read: {error.strerror or error}.") from error
    return [Run(folder) for folder in sorted(folders)]


def latest(root: Path = RUNS) -> Run | None:
    """Returns the run whose contents changed last, or ``None`` if no run in `root` has any contents.

    Contents are the weights, the training state, the results and the lambda fits; writing a report does not
    make a run the latest. Of runs that changed at the same time the one whose name sorts last is returned.

    Raises:
        StoreError: `root` or a run in it cannot be read.
    """
    dated = [(changed, run.name, run) for run in existing(root) if (changed := run.changed) is not None]
    return max(dated, key=lambda entry: entry[:2])[2] if dated else None


def find(name: str | Path, root: Path = RUNS, *, others: Sequence[str] = ()) -> Run:
    """Returns the run called `name` in `root`, or else the run whose folder is the path `name`.

    Args:
        name: Name or folder.
        root: The folder of all runs.
        others: More names that could have been typed.

    Raises:
        StoreError: There is no such run; the sentence names those that exist, and the others.
    """
    runs = existing(root)
    for run in runs:
        if run.name == str(name):
            return run
    folder = Path(name)
    if str(name) and os.path.isdir(folder):
        run = Run(folder)
        if run.changed is not None or folder.resolve().parent == root.resolve():
            return run
        raise StoreError(f"{folder} is a folder, but no run, as it has neither weights nor results: name another.")
    names = [*dict.fromkeys((*(run.name for run in runs), *others))]
    if not names:
        raise StoreError(
            f"No run {str(name)!r}: there are no runs in {root} yet, type `robustcsc quickstart` or train one."
        )
    raise StoreError(f"No run {str(name)!r} in {root}: {hint(str(name), names)}")


def meant(name: str | None, model: str | None = None, weights: Path | None = None) -> Run:
    """Returns the run that a user means; only runs of shipped models and of weights from elsewhere may be new.

    Args:
        name: Name or folder of a run, or a shipped model; the latest run, or that of the shipped model for textures, if
            nothing at all is named.
        model: A model from elsewhere: a name in the catalog, a published model, or ``package.module:factory``.
        weights: Its weights, if neither the run nor the name of the model says them.

    Raises:
        StoreError: There is no such run, or a new one cannot be called so.
        CheckpointError: Weights or their model are missing, or the latest run has no weights yet.
        RobustCSCError: A published model cannot be had.
    """
    if name == "":
        raise StoreError("The name of a run is empty: write one, or leave it out for the latest run.")
    wanted = name or re.sub(r"[^\w.-]", "-", model or "")
    if weights is not None or (model is not None and ":" not in model):
        if model is None or weights is None:
            shipped = f" {model} ships with its own: --run {model}." if model in SHIPPED else ""
            raise CheckpointError(f"Weights from elsewhere need both --model NAME and --weights FILE.{shipped}")
        check(model, needs_weights=False)
        weights_file(weights)
        check_name(wanted)
        return Run(RUNS / wanted)
    if model is not None and not (RUNS / wanted / "weights.safetensors").is_file():
        check(model, needs_weights=True)
        if published(model) is not None:
            check_name(wanted)
            return Run(RUNS / wanted)
    if name in SHIPPED and not Run(RUNS / name).folder.exists():
        return Run(RUNS / name)
    if wanted:
        return find(wanted, others=SHIPPED)
    run = latest() or Run(RUNS / DEMO_RUN)
    if run.changed is not None and not run.weights_path.is_file():
        raise CheckpointError(
            f"The latest run {run.name!r} has no weights yet: finish its training with `robustcsc train --resume`, "
            "or choose with --run."
        )
    return run


def trainings(of: Iterable[Run]) -> list[Training]:
    """Returns how the weights of some runs, and those that ship with the package, were trained, as far as known."""
    found = [Training.read(run.weights_path) for run in of]
    for name in SHIPPED:
        with resources.as_file(resources.files("robustcsc.models") / "weights" / f"{name}.safetensors") as path:
            found.append(Training.read(path))
    return [it for it in found if it is not None]


def check_name(name: str) -> None:
    """Refuses what cannot be the name of a run.

    Raises:
        StoreError: It is not made of letters, digits, ``.``, ``_`` and ``-``, starting with a letter or digit, or is
            longer than `LONGEST` bytes.
    """
    if len(name.encode()) > LONGEST:
        raise StoreError(f"The name of a run has at most {LONGEST} letters, not {len(name)}: choose a shorter one.")
    if not re.fullmatch(r"[^\W_][\w.-]*", name):
        raise StoreError(
            f"{name!r} cannot be the name of a run: use letters, digits, '.', '_' and '-', "
            "and start with a letter or digit."
        )


def create(name: str, root: Path = RUNS, *, exist_ok: bool = False) -> Run:
    """Makes the folder of a new run.

    Args:
        name: Its name, as for `check_name`.
        root: The folder of all runs; made if it does not exist.
        exist_ok: Whether a run of that name with contents may exist already; its contents are kept.

    Raises:
        StoreError: The name is not allowed or taken, or the folder cannot be made.
    """
    check_name(name)
    run = Run(root / name)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The run folder {run.folder} cannot be made ({error.strerror or error}): "
            "choose another --run, or start robustcsc in a folder you can write to."
        ) from error
    if not exist_ok and run.changed is not None:
        raise StoreError(f"The run {name!r} exists already in {root}: choose another name, or resume it.")
    return run
