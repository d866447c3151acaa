"""`robustcsc train`."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated, Literal

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, print_line, progress_display, told_once
from robustcsc.cli.options import completion
from robustcsc.cli.signals import is_first_process
from robustcsc.cli.threads import start_torch
from robustcsc.files import check_writable
from robustcsc.measurements.datasets import check_asked
from robustcsc.runs import Run

_of_training = partial(typer.Option, rich_help_panel="Training")
_RunName = Annotated[
    str | None, options.in_model("--run", metavar="NAME", help="Name of the new run; MODEL-DATA if not given.")
]


def train(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.model_names, help="A name from `robustcsc models`, or package.module:factory."
        ),
    ],
    model_option: options.ModelOption = None,
    run: _RunName = None,
    resume: Annotated[bool, options.in_model("--resume", help="Resume an interrupted training.")] = False,
    data: Annotated[
        str | None,
        options.in_data(
            metavar="NAME",
            autocompletion=completion.data_names,
            help="Data set, see `robustcsc data`; if not given, the embedded one that MODEL is made for, else digits.",
        ),
    ] = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    class_order: options.ClassOrder = None,
    readers: options.Readers = 2,
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
            help="A recipe's name; by default digits or textures for those, tddl-1k or -60k for tddl models, mnist-cnn "
            "for mnist-cnn, mdeq-cifar, -tiny or -digits for mdeq models, else cpu, or on a GPU sdnet-cifar."
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
    devices: Annotated[
        int | None,
        options.in_compute(
            metavar="N",
            min=1,
            help="GPUs, or with --device cpu processors, one process each; by default 1, or what torchrun says.",
        ),
    ] = None,
    threads: options.Threads = None,
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
    from robustcsc.measurements.threats import parse_epsilon
    from robustcsc.models.known import images_for
    from robustcsc.training.processes import EndedElsewhereError, Processes
    from robustcsc.training.request import TrainingRequest, check_unfinished

    # Mistakes are told before torch is imported or images are read.
    with told_once():
        request = TrainingRequest(
            model=model,
            run=run,
            options=options.builder_options(model_option),
            heldout=heldout,
            train_images=train_images,
            recipe=recipe,
            epochs=epochs,
            learning_rate=learning_rate,
            augment=augment,
            adversarial=adversarial,
            epsilon=None if epsilon is None else parse_epsilon(epsilon),
            seed=seed,
            devices=devices,
            precision=precision,
            compile=compile_model,
        )
        data = data or images_for(model)
        check_asked(data, image_size=image_size, class_order=class_order, download=download, readers=readers)
        if run is not None:
            check_unfinished(Run(runs.RUNS / run), resume=resume)
        check_writable(runs.RUNS if run is None else runs.RUNS / run, "The run folder", folder=True)

    if Processes.asked(devices) != Processes():  # those that end with another one say nothing, also not in C++
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    start_torch(threads)
    from robustcsc.session.choices import DataChoice
    from robustcsc.session.measuring import Measuring
    from robustcsc.session.training import train as train_session

    choice = DataChoice(data, root, download, image_size, class_order, readers)
    with progress_display() as progress:
        measuring = Measuring(progress=progress, note=note)
        try:
            session = train_session(
                request, choice, device=device, resume=resume, tensorboard=tensorboard, measuring=measuring
            )
        except EndedElsewhereError as ended:
            raise typer.Exit(2) from ended
    if not is_first_process():
        return
    trained, weights = session.trained, session.run.weights_path
    result = {"run": session.run.name, "weights": weights, "sha256": trained.weights}
    if as_json:
        print_json({**result, "spec": trained.spec, "training": trained.training})
    else:
        done = trained.training["final_epoch"]["number"]
        print_line(f"{weights}  ({model}, {done} epoch{'s' * (done != 1)}, sha256 {trained.weights[:12]})")
