"""`robustcsc quickstart`: the whole story on synthetic textures, in about a minute."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, progress_display
from robustcsc.cli.render import print_section
from robustcsc.cli.threads import start_torch
from robustcsc.files import check_writable
from robustcsc.progress import Progress, parts, quiet
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.measurements.records import Record
    from robustcsc.session.measuring import Measuring, Results
    from robustcsc.session.session import Session

RESNET, SDNET = "quickstart-resnet", "quickstart-sdnet"
DATA = "textures"
#: A lower rate than the recipe's, and the stronger noises. Training adds up in another order on another number of
#: threads, and ends elsewhere: at these the gain is large wherever it ends.
LEARNING_RATE, SEVERITIES = 0.1, (3, 4, 5)
#: What is done, each with about as many seconds as it takes, for progress.
WORK = {"train": (5, 12), "fit": (12,), "sweep": (2, 4), "attack": (3, 9), "report": (6,)}
POLICIES = ("train", "adaptive", "adaptive-image")
EXAMPLES = 4
CLOSING = (
    "The textures are synthetic and made for the model: sums of a few atoms, which is what an SDNet assumes. "
    'Photographs gain less. For real images see the table of CIFAR-10 in the README, and "Where lambda matters" in '
    "the tutorial."
)


def quickstart(device: options.Device = "cpu", threads: options.Threads = None, as_json: options.Json = False) -> None:
    """Train a ResNet and an SDNet on synthetic textures, fit lambda, sweep noise, attack, report: about a minute."""
    check_writable(runs.RUNS, "The run folder", folder=True)

    start_torch(threads)
    from robustcsc.measurements.frames import flat
    from robustcsc.reports.summary.short import short_section
    from robustcsc.session.measuring import Measuring
    from robustcsc.session.reporting import report
    from robustcsc.session.results import keep_results

    started = time.perf_counter()
    note(
        "A classifier built on sparse coding (SDNet) against a plain one (ResNet), on synthetic colour textures: every "
        "image is the sum of a dozen atoms.\n"
    )
    with progress_display() as progress:
        told = iter(parts(progress, [seconds for each in WORK.values() for seconds in each]))
        how = Measuring(note=note)
        note("[1/6] Train the ResNet.")
        resnet = _trained(RESNET, "resnet-textures", device, replace(how, progress=next(told)))
        note("[2/6] Train the SDNet: the same blocks, behind a layer that explains the image by few atoms.")
        sdnet = _trained(SDNET, "sdnet-textures", device, replace(how, progress=next(told)))
        note("[3/6] Fit lambda, the price of an atom: which is best at how much noise, on training images kept back?")
        _fitted(_telling(sdnet, next(told)))
        note("[4/6] Measure the test images, clean and under four noises at severities 3 to 5.")
        records = [record for session in (resnet, sdnet) for record in _swept(_telling(session, next(told)))]
        note("[5/6] Attack both with PGD: each pixel may change by 8/255.")
        records += [record for session in (resnet, sdnet) for record in _attacked(_telling(session, next(told)))]
        for session in (resnet, sdnet):
            keep_results(session.run)
        note("[6/6] Write the report, with a few of the images and the models' answers.")
        title = "Quickstart: SDNet and ResNet on synthetic textures"
        paths = report([resnet, sdnet], folder=Run(runs.RUNS / SDNET).reports, title=title, examples=EXAMPLES)
    if as_json:
        print_json({"page": paths.page, "records": [flat(record) for record in records]})
        return
    note("")
    print_section(short_section(records))
    note(CLOSING)
    note(f"\nDone in {time.perf_counter() - started:.0f} s. The page with all tables and figures: {paths.page}")


def _trained(name: str, model: str, device: options.Device, measuring: Measuring) -> Session:
    """Returns the session of a trained model; it is trained unless the run has weights already."""
    from robustcsc.session.choices import DataChoice
    from robustcsc.session.opening import open as open_session
    from robustcsc.session.training import train
    from robustcsc.training.request import TrainingRequest

    run, data = Run(runs.RUNS / name), DataChoice(DATA)
    if run.weights_path.exists():
        _tell(f"runs/{name} has weights already: they are used. Delete the folder to train afresh.")
        return open_session(name, data=data, device=device, measuring=measuring)
    silent = replace(measuring, note=quiet)  # a line for each epoch would be too many
    request = TrainingRequest(model=model, run=name, learning_rate=LEARNING_RATE)
    resume = run.training_path.exists()
    session = train(request, data, device=device, resume=resume, measuring=silent)
    last = session.trained.training["final_epoch"]
    _tell(f"{last['accuracy']:.1%} of the training images are right after {last['number']} epochs.")
    return replace(session, measuring=measuring)


def _telling(session: Session, progress: Progress) -> Session:
    """Returns the session with its progress told to something else."""
    return replace(session, measuring=replace(session.measuring, progress=progress))


def _fitted(session: Session) -> None:
    """Fits lambda to each noise and to all together, unless the run has the fits, and tells the best lambdas."""
    from robustcsc.measurements.corruptions import NOISE_KERNELS
    from robustcsc.session.reporting import keep_fit_tables

    fits = session.model.fits
    if set(fits) != {*NOISE_KERNELS, "pooled"}:
        fits = session.fit_lambdas()
        keep_fit_tables(session.run)
    for noise in NOISE_KERNELS:
        best = [level.best_lam for level in fits[noise].levels]
        _tell(f"{noise}: lambda {best[0]:g} is best under the weakest noise, {best[-1]:g} under the strongest.")


def _swept(session: Session) -> Results:
    """Measures clean and noisy images, and tells how many are right."""
    from robustcsc.measurements.perturbations import Clean, Corruption
    from robustcsc.measurements.policies import typed_policy

    policies = POLICIES if session.model.facts.has_lambda else ()
    records = session.sweep(corruptions="noise", severities=SEVERITIES, policies=policies)
    for policy, words in ("", ""), ("train", ", training lambda"), ("adaptive", ", adaptive lambda"):
        own = [record for record in records if typed_policy(record.measurement.policy) == policy]
        clean = [record for record in own if record.measurement.perturbation == Clean()]
        noisy = [it for it in own if isinstance(made := it.measurement.perturbation, Corruption) and made.severity == 5]
        if own:
            _tell(
                f"{session.trained.spec.name}{words}: {_accuracy(clean):.1%} of the clean images are right, "
                f"{_accuracy(noisy):.1%} under the strongest noises."
            )
    return records


def _attacked(session: Session) -> Sequence[Record]:
    """Attacks under every protocol that makes sense, and tells what is left."""
    attacked = session.attack()[1:]  # the first is clean
    _tell(f"{session.trained.spec.name}: {_accuracy(attacked[:1]):.1%} are still right.")
    return attacked


def _accuracy(records: Sequence[Record]) -> float:
    """Returns the share of images that are classified as labelled, in all records together."""
    return sum(record.met for record in records) / sum(record.total for record in records)


def _tell(sentence: str) -> None:
    note(f"      {sentence}")
