"""`robustcsc quickstart`: the whole story on digits, in about a minute."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, progress_display
from robustcsc.cli.render import print_section
from robustcsc.files import check_writable
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.measurements.perturbations import Perturbation
    from robustcsc.measurements.records import Record
    from robustcsc.session.measuring import Results
    from robustcsc.session.session import Session

RESNET, SDNET = "quickstart-resnet", "quickstart-sdnet"
POLICIES = ("train", "adaptive", "adaptive-image", "oracle")
EXAMPLES = 4


def quickstart(device: options.Device = "cpu", as_json: options.Json = False) -> None:
    """Train a ResNet and an SDNet on digits, sweep noise, fit lambda, attack, and report: about a minute."""
    check_writable(runs.RUNS, "The run folder", folder=True)

    from robustcsc.measurements.frames import flat
    from robustcsc.reports.summary.short import short_section
    from robustcsc.session.choices import DataChoice
    from robustcsc.session.measuring import Measuring
    from robustcsc.session.opening import open as open_session
    from robustcsc.session.reporting import report

    started = time.perf_counter()
    note("A classifier built on sparse coding (SDNet) against a plain one (ResNet), on 8x8 handwritten digits.\n")
    note("[1/6] Train the ResNet.")
    _trained(RESNET, "resnet-digits", device)
    note("[2/6] Train the SDNet: the same blocks, behind a layer that explains the image by few atoms.")
    _trained(SDNET, "sdnet-digits", device)
    with progress_display() as progress:
        how, digits = Measuring(progress=progress, note=note), DataChoice("digits")
        sessions = [open_session(name, data=digits, device=device, measuring=how) for name in (RESNET, SDNET)]
        note("[3/6] Fit lambda, the price of an atom: which is best at how much noise, on training images kept back?")
        _fitted(sessions[1])
        note("[4/6] Measure the test images, clean and under four noises at five severities.")
        records = [record for session in sessions for record in _swept(session)]
        note("[5/6] Attack both with PGD: each pixel may change by 8/255.")
        records += [record for session in sessions for record in _attacked(session)]
        note("[6/6] Write the report, with a few of the images and the models' answers.")
        title = "Quickstart: SDNet and ResNet on digits"
        paths = report(sessions, folder=Run(runs.RUNS / SDNET).reports, title=title, examples=EXAMPLES)
    if as_json:
        print_json({"page": paths.page, "records": [flat(record) for record in records]})
        return
    note("")
    print_section(short_section(records))
    note(f"\nDone in {time.perf_counter() - started:.0f} s. The page with all tables and figures: {paths.page}")


def _trained(name: str, model: str, device: options.Device) -> None:
    """Trains a model on the digits, unless the run has weights already."""
    from robustcsc.data import load
    from robustcsc.models.catalog import default_spec
    from robustcsc.session.choices import choose_device, written
    from robustcsc.training.log import quiet_fabric
    from robustcsc.training.recipes import RECIPES
    from robustcsc.training.run import Hardware, train_run

    if Run(runs.RUNS / name).weights_path.exists():
        _tell(f"runs/{name} has weights already: they are used. Delete the folder to train afresh.")
        return
    quiet_fabric()
    images = load("digits", split="train")
    spec = default_spec(model, len(images.classes), images.image_shape, normalization="digits")
    hardware = Hardware(device=choose_device(device).type)
    started = time.perf_counter()
    with written(Run(runs.RUNS / name)) as run, progress_display() as progress:
        trained = train_run(
            run,
            spec,
            images,
            RECIPES["digits"],
            data="digits",
            hardware=hardware,
            resume=True,
            progress=progress,
        )
    accuracy = trained.training["final_epoch"]["accuracy"]
    seconds, epochs = time.perf_counter() - started, trained.training["recipe"]["epochs"]
    _tell(f"{epochs} epochs in {seconds:.0f} s; {accuracy:.1%} of the training images are right.")


def _fitted(session: Session) -> None:
    """Fits lambda to each noise and to all together, unless the run has the fits, and tells the lines."""
    from robustcsc.measurements.corruptions import NOISE_KERNELS
    from robustcsc.reports.summary.lambda_fits import line_words
    from robustcsc.session.reporting import keep_fit_tables

    fits = session.model.fits
    if set(fits) != {*NOISE_KERNELS, "pooled"}:
        fits = session.fit_lambdas()
        keep_fit_tables(session.run, list(fits.values()))
    for fit in fits.values():
        _tell(f"{line_words(fit)}.")


def _swept(session: Session) -> Results:
    """Measures clean and noisy images, and tells the means."""
    from robustcsc.measurements.perturbations import Clean, Corruption

    records = session.sweep(corruptions="noise", policies=POLICIES if session.model.facts.has_lambda else ())
    clean, noisy = (_accuracy(records, kind) for kind in (Clean, Corruption))
    _tell(f"{session.trained.spec.name}: {clean:.1%} of the clean images are right, {noisy:.1%} of the noisy ones.")
    return records


def _attacked(session: Session) -> Sequence[Record]:
    """Attacks under every protocol that makes sense, and tells what is left."""
    attacked = session.attack()[1:]  # the first is clean
    _tell(f"{session.trained.spec.name}: {attacked[0].met / attacked[0].total:.1%} are still right.")
    return attacked


def _accuracy(records: Sequence[Record], kind: type[Perturbation]) -> float:
    """Returns the mean accuracy under one kind of perturbation and the first policy."""
    policy = records[0].measurement.policy
    chosen = [it for it in records if isinstance(it.measurement.perturbation, kind) and it.measurement.policy == policy]
    return sum(record.met for record in chosen) / sum(record.total for record in chosen)


def _tell(sentence: str) -> None:
    note(f"      {sentence}")
