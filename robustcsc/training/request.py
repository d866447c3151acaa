"""What is to be trained, as facts; made and checked without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from robustcsc.errors import RobustCSCError
from robustcsc.measurements.threats import ThreatModel
from robustcsc.models.known import check_known
from robustcsc.progress import Note, quiet
from robustcsc.runs import Run, check_name
from robustcsc.training.processes import Processes
from robustcsc.training.recipes import adapted_recipe

#: The largest share of the training images that is kept back.
MOST_HELDOUT = 0.9


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """A training from fresh weights: the options of `robustcsc train`.

    Attributes:
        model: A name in the catalog, or ``package.module:factory``.
        run: Name of the new run; model and data set if ``None``.
        options: Keyword arguments of the builder; those that are left out have their defaults.
        heldout: Share of each class that is kept back for the lambda fit, 0 to 0.9.
        train_images: Number of the other images to train on; all if ``None``.
        recipe: A recipe's name; that of the model, the data set and the device if ``None``.
        epochs: Another number of epochs than the recipe's.
        learning_rate: Another learning rate than the recipe's, above 0.
        augment: ``"gaussian"`` adds noise to half of the images of a batch.
        adversarial: Attack on the training images.
        epsilon: Its budget in the maximum norm, in pixel units of [0, 1]; 8/255 if ``None``.
        seed: Seed of everything random.
        devices: Devices of this machine, one process each; as many as torchrun has started processes, or 1, if
            ``None``.
        precision: ``"auto"`` is bfloat16 on a GPU and 32 bit elsewhere.
        compile: Whether the model is compiled with ``torch.compile``.

    Raises:
        RobustCSCError: The run cannot be called so, the model, its option or the recipe is unknown, or a number makes
            no sense.

    Examples:
        >>> import robustcsc as rc
        >>> request = rc.TrainingRequest(model="sdnet-digits", run="short", epochs=1, train_images=100)
        >>> rc.train(request, rc.DataChoice("digits")).trained.training["trained_on"]
        100
    """

    model: str
    run: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    heldout: float = 0.1
    train_images: int | None = None
    recipe: str | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    augment: Literal["none", "gaussian"] = "none"
    adversarial: Literal["none", "pgd-7", "fgsm"] = "none"
    epsilon: float | None = None
    seed: int = 0
    devices: int | None = None
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.run is not None:
            check_name(self.run)
        check_known(self.model, self.options)
        adapted_recipe(self.recipe or "cpu", self.epochs, self.learning_rate)
        Processes.asked(self.devices)
        if not 0 <= self.heldout <= MOST_HELDOUT:
            raise RobustCSCError(f"--heldout {self.heldout:g}: the share that is kept back is 0 to {MOST_HELDOUT:g}.")
        if self.seed < 0:
            raise RobustCSCError(f"--seed {self.seed}: a seed is at least 0.")
        if self.epsilon is None:
            return
        if self.adversarial == "none":
            raise RobustCSCError("--epsilon is the budget of --adversarial: add --adversarial pgd-7 or fgsm.")
        ThreatModel("linf", self.epsilon)


def check_unfinished(run: Run, *, resume: bool, note: Note = quiet) -> None:
    """Refuses to train over what a run has already.

    Raises:
        RobustCSCError: The run has weights, or the state of a training that is not to be resumed.
    """
    if resume and run.training_path.exists():
        return
    if run.weights_path.exists():
        raise RobustCSCError(f"Run {run.name!r} has trained weights already: choose another name with --run.")
    if run.training_path.exists():
        raise RobustCSCError(f"Run {run.name!r} was interrupted: add --resume, or choose another --run name.")
    if resume:
        note(f"There is nothing to resume in {run.folder}: training from the start.")
