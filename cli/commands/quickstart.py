"""`robustcsc quickstart`: the whole story on digits, in about a minute."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, progress_display
from robustcsc.cli.context import DataChoice, Device, ModelChoice, Session, open_session, written
from robustcsc.cli.results import json_rows, print_tables, without_columns
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.measurements.fits import LambdaFit
    from robustcsc.records import Record
    from robustcsc.report import Table

RESNET, SDNET = "quickstart-resnet", "quickstart-sdnet"
DIGITS = DataChoice("digits")
SINGLE_NOISES = ("gaussian noise", "shot noise", "speckle noise", "impulse noise")
POLICIES = ("train", "adaptive", "adaptive-image", "oracle")
EXAMPLES = 4


def quickstart(device: options.Device = "cpu", as_json: options.Json = False) -> None:
    """Train a ResNet and an SDNet on digits, sweep noise, fit lambda, attack, and report: about a minute."""
    from robustcsc.cli.report import keep_examples
    from robustcsc.report import read_examples, write_report

    started = time.perf_counter()
    note("A classifier built on sparse coding (SDNet) against a plain one (ResNet), on 8x8 handwritten digits.\n")
    note("[1/6] Train the ResNet.")
    _trained(RESNET, "resnet-digits", device)
    note("[2/6] Train the SDNet: the same blocks, behind a layer that explains the image by few atoms.")
    _trained(SDNET, "sdnet-digits", device)
    note("[3/6] Fit lambda, the price of an atom: which is best at how much noise, on training images kept back?")
    fits = _fitted(device)
    note("[4/6] Measure the test images, clean and under four noises at five severities.")
    sessions = [_session(name, device) for name in (RESNET, SDNET)]
    records = [record for session in sessions for record in _swept(session)]
    note("[5/6] Attack both with PGD: each pixel may change by 8/255.")
    records += [record for session in sessions for record in _attacked(session)]
    note("[6/6] Write the report, with a few of the images and what the models say of them.")
    for session in sessions:
        keep_examples(session, DIGITS, EXAMPLES)
    paths = write_report(
        records,
        fits,
        Run(runs.RUNS / SDNET).reports,
        title="Quickstart: SDNet and ResNet on digits",
        examples=[sheet for it in sessions if (sheet := read_examples(it.run.folder, it.run.name))],
    )
    if as_json:
        print_json({"page": paths.page, "records": json_rows(records)})
        return
    note("")
    print_tables(story(records))
    note(f"\nDone in {time.perf_counter() - started:.0f} s. The page with all tables and figures: {paths.page}")


def story(records: Sequence[Record]) -> list[Table]:
    """Returns what was asked in two tables: who is how accurate, and what the adaptive lambda gained on each noise."""
    from robustcsc.report import gain_tables, headline_tables

    tables = [without_columns(table, SINGLE_NOISES) for table in headline_tables(records)]
    for table in gain_tables(records):
        noise, opponent = table.columns.index("images"), table.columns.index("compared with")
        rows = tuple(row for row in table.rows if row[noise] != "clean" and row[opponent] == "training lambda")
        if rows:
            title = f"What the adaptive lambda gained over the training lambda: {table.title.partition(': ')[2]}"
            gains = replace(table, title=title, rows=rows)
            tables.append(without_columns(gains, ("run", "compared with", "severit")))
    return tables


def _trained(name: str, model: str, device: Device) -> None:
    """Trains a model on the digits, unless the run has weights already."""
    from robustcsc.cli.context import choose_device
    from robustcsc.models.catalog import default_spec
    from robustcsc.training.log import quiet_fabric
    from robustcsc.training.recipes import RECIPES
    from robustcsc.training.run import Hardware, train_run

    if Run(runs.RUNS / name).weights_path.exists():
        _tell(f"runs/{name} has weights already: they are used. Delete the folder to train afresh.")
        return
    quiet_fabric()
    images = DIGITS.load(None, "train")
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
            root=None,
            hardware=hardware,
            resume=True,
            progress=progress,
        )
    accuracy = trained.training["final_epoch"]["accuracy"]
    seconds, epochs = time.perf_counter() - started, trained.training["recipe"]["epochs"]
    _tell(f"{epochs} epochs in {seconds:.0f} s; {accuracy:.1%} of the training images are right.")


def _session(name: str, device: Device) -> Session:
    return open_session(ModelChoice(name), DIGITS, device)


def _fitted(device: Device) -> list[LambdaFit]:
    """Returns the SDNet's fits to each noise and to all together, fitting them unless the run has them."""
    from robustcsc.cli.fit import line_words, measure_fits
    from robustcsc.measurements.noises import NOISE_KERNELS

    session = _session(SDNET, device)
    fits = session.subject.fits
    if set(fits) != {*NOISE_KERNELS, "pooled"}:
        measured = measure_fits(session, DIGITS.load(session.trained, "train"), "all")
        fits = {fit.noise: fit for fit in measured}
    for fit in fits.values():
        _tell(f"{line_words(fit)}.")
    return list(fits.values())


def _swept(session: Session) -> list[Record]:
    """Measures clean and noisy images, and tells the means."""
    from robustcsc.cli.evaluate import measure_sweep

    policies = POLICIES if session.subject.has_lambda else ()
    images = DIGITS.load(session.trained, "test")
    records: list[Record] = measure_sweep(session, images, corruptions="noise", policies=policies)
    first = records[0].condition.policy
    clean, noisy = (_accuracy(records, kind, first) for kind in ("clean", "corruption"))
    _tell(f"{session.subject.model_name}: {clean:.1%} of the clean images are right, {noisy:.1%} of the noisy ones.")
    return records


def _attacked(session: Session) -> list[Record]:
    """Attacks under every protocol that makes sense, and tells what is left."""
    from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel
    from robustcsc.evaluation.adversarial import attack_pgd
    from robustcsc.evaluation.protocols import default_protocols

    subject, images = session.subject, DIGITS.load(session.trained, "test")
    with session.store() as store, progress_display() as progress:
        threat = ThreatModel("linf", DEFAULT_EPSILON["linf"])
        protocols = default_protocols(subject)
        records = list(attack_pgd(subject, images, store, threat=threat, protocols=protocols, progress=progress))
    left = records[0].correct / records[0].total
    _tell(f"{subject.model_name}: {left:.1%} are still right.")
    return records


def _accuracy(records: Sequence[Record], kind: str, policy: str) -> float:
    chosen = [record for record in records if (record.condition.kind, record.condition.policy) == (kind, policy)]
    return sum(record.correct for record in chosen) / sum(record.total for record in chosen)


def _tell(sentence: str) -> None:
    note(f"      {sentence}")
