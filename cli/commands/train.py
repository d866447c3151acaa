"""`robustcsc train`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, progress_display, results_console
from robustcsc.errors import RobustCSCError
from robustcsc.files import check_writable
from robustcsc.runs import Run, check_name

if TYPE_CHECKING:
    from robustcsc.training.loop import Epoch

_of_training = partial(typer.Option, rich_help_panel="Training")
_RunName = Annotated[
    str | None, options.in_model("--run", metavar="NAME", help="Name of the new run; MODEL-DATA if not given.")
]


def train(
    model: Annotated[str, typer.Argument(help="A name from `robustcsc models`, or package.module:factory.")],
    option: options.BuilderOption = None,
    run: _RunName = None,
    resume: Annotated[bool, options.in_model("--resume", help="Resume an interrupted training.")] = False,
    data: Annotated[str, options.in_data(metavar="NAME", help="Data set, see `robustcsc data`.")] = "digits",
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    class_order: options.ClassOrder = None,
    workers: options.Workers = 2,
    heldout: Annotated[
        float, options.in_data(min=0, max=0.9, help="Share of training images kept back for the lambda fit.")
    ] = 0.1,
    train_images: Annotated[
        int | None,
        options.in_data(
            "--train-images",
            metavar="N",
            min=1,
            help="Train on N of them only, chosen by the seed, equally many of each class.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        _of_training(
            help="A recipe's name; by default digits for digits, tddl-1k or -60k for tddl models, mnist-cnn for "
            "mnist-cnn, else cpu, or on a GPU sdnet-cifar."
        ),
    ] = None,
    epochs: Annotated[
        int | None, _of_training(metavar="N", min=1, help="Another number of epochs than the recipe's.")
    ] = None,
    learning_rate: Annotated[
        float | None, _of_training(metavar="NUMBER", help="Another learning rate than the recipe's.")
    ] = None,
    augment: Annotated[
        Literal["none", "gaussian"], _of_training(help="gaussian: half of the images of a batch get Gaussian noise.")
    ] = "none",
    adversarial: Annotated[
        Literal["none", "pgd-7", "fgsm"], _of_training(help="Train on attacked images: the baseline of a defence.")
    ] = "none",
    epsilon: Annotated[
        str | None,
        _of_training(
            metavar="NUMBER",
            help="Budget of --adversarial in the maximum norm, in pixel units of [0, 1]; 8/255 if not given.",
        ),
    ] = None,
    device: options.Device = "auto",
    devices: Annotated[int, options.in_compute(metavar="N", min=1, help="GPUs, one process each.")] = 1,
    precision: Annotated[
        Literal["auto", "32-true", "bf16-mixed"], options.in_compute(help="auto: bfloat16 on a GPU, 32 bit elsewhere.")
    ] = "auto",
    compile_model: Annotated[
        bool, options.in_compute("--compile", help="Compile the model with torch.compile.")
    ] = False,
    seed: options.Seed = 0,
    tensorboard: Annotated[bool, options.in_output("--tensorboard", help="Log to runs/NAME/tensorboard.")] = False,
    as_json: options.Json = False,
) -> None:
    """Train a model from fresh weights into a run folder.

    The state is kept after each epoch: rerun an interrupted command with --resume. The weights are the same as without
    the interruption.
    """
    from robustcsc.training.recipes import adapted_recipe, default_recipe

    # Mistakes are told before torch is imported or images are read.
    if run is not None:
        check_name(run)
        _check_unfinished(Run(runs.RUNS / run), resume)
    check_writable(runs.RUNS if run is None else runs.RUNS / run, "The run folder", folder=True)
    adapted_recipe(recipe or "cpu", epochs, learning_rate)
    budget = _budget(adversarial, epsilon)
    builder_options = options.builder_options(option)

    from robustcsc.models.catalog import default_spec
    from robustcsc.session.choices import DataChoice, allow_own_code, choose_device, note_unreadable, written
    from robustcsc.training.adversarial import AdversarialTraining
    from robustcsc.training.run import Hardware, train_run

    place = choose_device(device).type
    allow_own_code(model)
    adversary = None if adversarial == "none" else AdversarialTraining(adversarial, budget)
    images = DataChoice(data, root, download, image_size, class_order, workers).load(None, "train", note=note)
    chosen = recipe or default_recipe(model, data, place, train_images or len(images))
    settings = adapted_recipe(chosen, epochs, learning_rate)
    name = run or re.sub(r"[^\w.-]+", "-", f"{model}-{images.name}")
    if run is None:
        _check_unfinished(Run(runs.RUNS / name), resume)
    chosen_precision = ("bf16-mixed" if place == "cuda" else "32-true") if precision == "auto" else precision
    with (
        written(Run(runs.RUNS / name)) as folder,
        _epoch_notes(folder, f"/{settings.epochs}" * (settings.epochs > 0), tensorboard) as on_epoch,
        progress_display() as progress,
    ):
        trained = train_run(
            folder,
            default_spec(model, len(images.classes), images.image_shape, normalization=data, options=builder_options),
            images,
            settings,
            data=data,
            root=root,
            heldout_fraction=heldout,
            train_images=train_images,
            seed=seed,
            augment=augment,
            adversarial=adversary,
            hardware=Hardware(device=place, devices=devices, precision=chosen_precision, compile=compile_model),
            resume=resume,
            on_epoch=on_epoch,
            progress=progress,
        )
    if os.environ.get("LOCAL_RANK", "0") != "0":  # of several processes, the first one speaks
        return
    note_unreadable(images.unreadable, note)
    result = {"run": folder.name, "weights": folder.weights_path, "sha256": trained.weights}
    if as_json:
        print_json({**result, "spec": trained.spec, "training": trained.training})
    else:
        results_console().print(
            f"{folder.weights_path}  ({model}, {trained.training['final_epoch']['number']} epochs, "
            f"sha256 {trained.weights[:12]})"
        )


def _budget(adversarial: str, epsilon: str | None) -> float:
    """Returns the budget of what attacks the training images.

    Raises:
        RobustCSCError: A budget without an adversary, or one that makes no sense.
    """
    from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel, parse_epsilon

    if epsilon is None:
        return DEFAULT_EPSILON["linf"]
    if adversarial == "none":
        raise options.OptionError("--epsilon is the budget of --adversarial: add --adversarial pgd-7 or fgsm.")
    return ThreatModel("linf", parse_epsilon(epsilon)).epsilon


def _check_unfinished(run: Run, resume: bool) -> None:
    """Refuses to train over what a run has already.

    Raises:
        RobustCSCError: If the run has weights, or the state of a training that is not to be resumed.
    """
    if resume and run.training_path.exists():
        return
    if run.weights_path.exists():
        raise RobustCSCError(f"Run {run.name!r} has trained weights already: choose another name with --run.")
    if run.training_path.exists():
        raise RobustCSCError(f"Run {run.name!r} was interrupted: add --resume, or choose another --run name.")
    if resume:
        note(f"There is nothing to resume in {run.folder}: training from the start.")


@contextmanager
def _epoch_notes(run: Run, of_epochs: str, tensorboard: bool) -> Iterator[Callable[[Epoch], None]]:
    """Yields what is called after each epoch: it prints a line, and logs to TensorBoard if asked."""
    from contextlib import ExitStack

    from robustcsc.training.log import quiet_fabric, tensorboard_log

    quiet_fabric()
    with ExitStack() as stack:
        log = stack.enter_context(tensorboard_log(run.folder / "tensorboard")) if tensorboard else None

        def tell(epoch: Epoch) -> None:
            note(
                f"epoch {epoch.number}{of_epochs}: loss {epoch.loss:.4f}, "
                f"training accuracy {epoch.accuracy:.1%}, {epoch.seconds:.0f} s"
            )
            if log is not None:
                log(epoch)

        try:
            yield tell
        except KeyboardInterrupt:
            if run.training_path.exists():
                note("Training was interrupted: rerun the command with --resume to continue after the last epoch.")
            raise
