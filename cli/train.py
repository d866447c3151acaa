"""`robustcsc train`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, progress_display, results_console
from robustcsc.cli.context import DataChoice, choose_device


def train(
    model: Annotated[str, typer.Argument(help="A name from `robustcsc models`, or package.module:factory.")],
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    run: options.Run = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's name; by default digits for digits, else cpu, or on a GPU sdnet-cifar."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the recipe's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Another learning rate than the recipe's.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="Option of the model's builder, e.g. atoms=32."),
    ] = None,
    augment: Annotated[
        Literal["none", "gaussian"], typer.Option(help="gaussian: half of the images of a batch get Gaussian noise.")
    ] = "none",
    heldout: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of training images kept back for the lambda fit.")
    ] = 0.1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after an interruption.")] = False,
    device: options.Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Number of GPUs, one process each.")] = 1,
    precision: Annotated[
        Literal["auto", "32-true", "bf16-mixed"], typer.Option(help="auto: bfloat16 on a GPU, 32 bit elsewhere.")
    ] = "auto",
    compile_model: Annotated[bool, typer.Option("--compile", help="Compile the model with torch.compile.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log to runs/NAME/tensorboard.")] = False,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Train a model from fresh weights into a run folder.

    The state is kept after each epoch: the same command with --resume goes on after Ctrl-C and gives the same weights
    as an uninterrupted run.
    """
    from contextlib import ExitStack
    from dataclasses import asdict, replace

    from robustcsc.errors import RobustCSCError, UnknownNameError
    from robustcsc.models.catalog import default_spec
    from robustcsc.training.log import quiet_fabric, tensorboard_log
    from robustcsc.training.recipes import RECIPES
    from robustcsc.training.run import Hardware, train_run

    choice = DataChoice(data or "digits", root, download, image_size, workers)
    chosen_device = choose_device(device)
    recipe_name = recipe or (
        "digits" if choice.name == "digits" else "sdnet-cifar" if chosen_device.type == "cuda" else "cpu"
    )
    if recipe_name not in RECIPES:
        raise UnknownNameError("recipe", recipe_name, RECIPES)
    settings = RECIPES[recipe_name]
    if epochs is not None:
        milestones = tuple(round(m * epochs / settings.epochs) for m in settings.milestones)
        settings = replace(settings, epochs=epochs, milestones=milestones)
    if learning_rate is not None:
        settings = replace(settings, learning_rate=learning_rate)
    images = choice.load(None, "train")
    spec = default_spec(
        model, len(images.classes), images.image_shape, normalization=choice.name or "", options=_options(option or [])
    )
    folder = runs.create(run or f"{model.replace(':', '-')}-{images.name}", exist_ok=True)
    if not resume and folder.training_path.exists() and not folder.weights_path.exists():
        raise RobustCSCError(
            f"Run {folder.name!r} was interrupted: add --resume to go on, or choose another --run name."
        )
    if not resume and folder.weights_path.exists():
        raise RobustCSCError(f"Run {folder.name!r} has trained weights already: choose another name with --run.")
    chosen_precision = (
        ("bf16-mixed" if chosen_device.type == "cuda" else "32-true") if precision == "auto" else precision
    )
    hardware = Hardware(device=chosen_device.type, devices=devices, precision=chosen_precision, compile=compile_model)
    quiet_fabric()
    with ExitStack() as stack:
        progress = stack.enter_context(progress_display())
        log = stack.enter_context(tensorboard_log(folder.folder / "tensorboard")) if tensorboard else None

        def on_epoch(epoch: object) -> None:
            from robustcsc.training.loop import Epoch

            assert isinstance(epoch, Epoch)
            note(
                f"epoch {epoch.number}/{settings.epochs}: loss {epoch.loss:.4f}, "
                f"training accuracy {epoch.accuracy:.1%}, {epoch.seconds:.0f} s"
            )
            if log is not None:
                log(epoch)

        trained = train_run(
            folder,
            spec,
            images,
            settings,
            data=choice.name or "digits",
            root=root,
            heldout_fraction=heldout,
            seed=seed,
            augment=augment,
            hardware=hardware,
            resume=resume,
            on_epoch=on_epoch,
            progress=progress,
        )
    result = {"run": folder.name, "weights": str(folder.weights_path), "sha256": trained.weights, **asdict(spec)}
    if as_json:
        print_json({**result, "training": trained.training})
    else:
        results_console().print(
            f"{folder.weights_path}  ({model}, {settings.epochs} epochs, sha256 {trained.weights[:12]})"
        )


def _options(pairs: list[str]) -> dict[str, object]:
    """Returns builder options: numbers and true/false are read as such."""
    import json

    from robustcsc.cli.options import OptionError

    parsed: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise OptionError(f"--option {pair!r}: write KEY=VALUE, for example atoms=32.")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed
