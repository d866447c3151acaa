"""What is done on a GPU, in this order; each step yields its parts, whose rows are kept one by one.

- tests: those marked ``gpu``.
- corruptions: images per second of each, beside the most that the bandwidth of the memory allows (a copy, measured), if
  an image of bytes is read once and written once.
- sweep: time of the bare forward passes over that of the whole corruption sweep, as in `benchmarks/sweep.py`.
- throughput: training and inference of SDNet-18 relative to ResNet-18, as in `benchmarks/throughput.py`, with the peak
  of the memory of a training step.
- training: both networks on CIFAR-10 by the one-cycle recipe, for as many epochs as the time allows.
- robustness: of these networks, under noise at the training lambda and the fitted ones, PGD, the suite ``standard``.
- adaptive: time of adaptive inference relative to that at the training lambda.
- uap: universal perturbations of these networks, beside random ones.
- epochs: images per second in one epoch of networks of other layers, and of these two, each by its own recipe.
- compiled: training of both networks by `torch.compile`, which takes long to begin: it has the time that is left.
"""

from __future__ import annotations

import dataclasses
import tarfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import corruptions as speed_of_corruptions
import sweep as speed_of_sweeps
import throughput
import torch
from scales import Scale

import robustcsc as rc
from findings import Row
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.perturbations import Crafting
from robustcsc.measurements.threats import DEFAULT_XI, NORMS
from robustcsc.measurements.trainings import Training
from robustcsc.session.training import PreparedTraining

ROOT = Path(__file__).parents[2]
PRECISIONS = ("32-true", "bf16-mixed")
#: How lambda is chosen under noise.
LAMBDAS = ("train", "adaptive", "adaptive-image")
#: Name of the data set, which the papers' tables look for.
DATA = "cifar10-jpeg"


@dataclass(frozen=True)
class Place:
    """Where a step works.

    Attributes:
        scale: How much it does.
        images: Archive of CIFAR-10.
        work: A folder for what is not kept, in which the process runs: the images, and the runs with their weights.
    """

    scale: Scale
    images: Path | None
    work: Path

    @cached_property
    def device(self) -> torch.device:
        """The GPU, or the CPU where a rehearsal finds none."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def networks(self) -> tuple[str, str]:
        """The two networks; also the names of their runs."""
        return self.scale.networks

    def data(self) -> rc.DataChoice:
        """Returns the images, unpacked by the first step that needs them."""
        folder = self.work / DATA
        if not folder.exists():
            with tarfile.open(self.images) as archive:
                archive.extractall(part := folder.with_suffix(".part"), filter="data")
            part.rename(folder)  # it is whole, or not there
        return rc.DataChoice("imagefolder", folder, readers=8, limit=self.scale.test_images)

    def opened(self, network: str) -> rc.Session:
        """Returns the session of a network that was trained."""
        measuring = rc.Measuring(batch_size=self.scale.batch_size, note=print)
        return rc.open(network, data=self.data(), device=self.device.type, measuring=measuring)

    def wait(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak(self, work: Callable[[], object]) -> int | None:
        """Returns the most bytes that tensors took on the GPU meanwhile."""
        if self.device.type != "cuda":
            work()
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        return torch.cuda.max_memory_allocated(self.device)


Part = Callable[[], Iterable[Row]]
"""Some rows to be measured. One that fails does not keep a step from the next."""


def tests(place: Place) -> Iterator[Part]:
    """The tests that need a GPU."""
    yield partial(outcomes, place.work / "tests.xml")


def outcomes(told: Path) -> Iterator[Row]:
    """Runs the tests and returns their outcomes, which pytest tells in a file."""
    import pytest  # only here: a machine without it can do all else

    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    options = ["-m", "gpu", "-q", "-W", "default", "-p", "no:cacheprovider", f"--rootdir={ROOT}", f"--junitxml={told}"]
    ended = pytest.main([*options, *map(str, files)])
    if ended not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {ended!r}: see log.txt")
    for case in ElementTree.parse(told).iter("testcase"):
        unusual = [it.tag for it in case if it.tag in ("failure", "error", "skipped")]
        yield {"test": f"{case.get('classname')}.{case.get('name')}", "outcome": unusual[0] if unusual else "passed"}


def corruptions(place: Place) -> Iterator[Part]:
    """Every corruption at severity 3."""
    scale, moved = place.scale, bandwidth(place)
    for table in speed_of_corruptions.TABLES:
        spec = rc.load_spec(table)
        engine = speed_of_corruptions.Engine(spec, place.device, scale.corruption_seconds, scale.corruption_batch)
        for name in speed_of_corruptions.select(spec, scale.corruptions):
            yield partial(speed_of_corruption, engine, name, moved)


def speed_of_corruption(engine: speed_of_corruptions.Engine, name: str, moved: float) -> Iterator[Row]:
    """Times a corruption, on a device whose memory moves `moved` bytes per second."""
    yield {
        "table": engine.spec.name,
        "size": engine.spec.image_size,
        "corruption": name,
        "batch_size": engine.count,
        "images_per_second": engine.rate(name, 3, torch.get_num_threads()),
        "memory_limit": moved / (2 * engine.images[0].nbytes),
        "bytes_per_second": moved,
        "mse": engine.mse(name, 3),
    }


def bandwidth(place: Place) -> float:
    """Returns the bytes per second, read and written, of a copy on the device: the median of nine."""
    source = torch.ones(place.scale.copied, dtype=torch.uint8, device=place.device)
    target = torch.empty_like(source)
    taken = []
    for _ in range(11):
        place.wait()
        started = time.perf_counter()
        target.copy_(source)
        place.wait()
        taken.append(time.perf_counter() - started)
    return 2 * source.nbytes / median(taken[2:])


def sweep(place: Place) -> Iterator[Part]:
    """Whole sweeps, and the bare forward passes in them."""
    torch.backends.cudnn.benchmark = True
    scale = place.scale
    for precision in PRECISIONS:
        for model in place.networks:
            options = Namespace(
                device=place.device.type,
                model=model,
                table="cifar10_c",
                corruptions=scale.sweep_corruptions,
                images=scale.sweep_images,
                batch_size=scale.batch_size,
                precision=precision,
            )
            yield lambda it=options: [speed_of_sweeps.measure(it)]


def speed_of_training(place: Place) -> Iterator[Part]:
    """Steps of training and inference of one network beside the other."""
    for bench in benches(place):
        yield partial(throughput.beside_baseline, bench, place.scale.sparse)
        for name in place.networks:
            yield partial(peak_of_training, place, bench, name)


def benches(place: Place) -> Iterator[throughput.Bench]:
    """Returns a bench for each precision and batch size."""
    torch.backends.cudnn.benchmark = True
    for precision in PRECISIONS:
        for batch_size in place.scale.batches:
            yield throughput.Bench(place.device, precision, batch_size, place.scale.repeats)


def peak_of_training(place: Place, bench: throughput.Bench, name: str) -> Iterator[Row]:
    """Measures the memory of a training step."""
    step = bench.training(name)
    step()  # choice of kernels, which takes memory of its own
    about = {"precision": bench.precision, "batch_size": bench.batch_size}
    yield {**about, "quantity": "peak memory of training", "numerator": name, "bytes": place.peak(step)}


def training(place: Place) -> Iterator[Part]:
    """Both networks."""
    for network in place.networks:
        yield partial(trained, place, network)


def trained(place: Place, network: str) -> Iterator[Row]:
    """Trains a network for as many epochs as fit into the time, as the second one of a trial tells."""
    scale, data = place.scale, place.data()
    train = partial(rc.train, data=data, device=place.device.type, measuring=rc.Measuring(note=print))
    request = rc.TrainingRequest(model=network, recipe="cpu", epochs=2, train_images=scale.trial_images)
    trial = train(dataclasses.replace(request, run=f"trial-{network}"))
    facts, images = trial.trained.training, len(trial.images("train")) * (1 - request.heldout)
    epoch = facts["final_epoch"]["seconds"] * images / facts["trained_on"]
    epochs = max(1, min(scale.most_epochs, int(scale.seconds / epoch)))
    request = dataclasses.replace(request, run=network, epochs=epochs, train_images=None)
    peak = place.peak(lambda: train(request))
    session = place.opened(network)
    (clean,) = session.evaluate()
    made = Training.read(session.run.weights_path)
    yield {
        "network": network,
        "epochs": epochs,
        "seconds": made.seconds,
        "images_per_second": made.trained_on * epochs / made.seconds,
        "bytes": peak,
        "met": clean.met,
        "total": clean.total,
        "training": dataclasses.asdict(made),
    }


def robustness(place: Place) -> Iterator[Part]:
    """The networks under noise, each at all its lambdas, and then under attack."""
    trained = [it for it in place.networks if (place.work / "runs" / it / "weights.safetensors").exists()]
    if not trained:
        raise RuntimeError("no network was trained")
    sessions = [place.opened(network) for network in trained]
    noises = ",".join(NOISE_KERNELS.values())
    for session in sessions:
        sparse, noised = session.run.name == place.scale.sparse, session.images(limit=place.scale.noised)
        if sparse:
            yield partial(fits, session, place.scale)
        sweep = partial(session.sweep, noised, corruptions=noises, policies=LAMBDAS if sparse else ())
        yield partial(timed, "noise", session, sweep)
    attacked = {session.run.name: session.images(limit=place.scale.attacked) for session in sessions}
    for norm in NORMS:
        for session in sessions:
            attack = partial(session.attack, attacked[session.run.name], norm=norm)
            yield partial(timed, f"pgd {norm}", session, attack)
    for session, other in zip(sessions, sessions[::-1], strict=True):
        surrogate = None if other is session else other
        suite = partial(session.suite, "standard", attacked[session.run.name], surrogate=surrogate)
        yield partial(timed, "suite", session, suite)


def fits(session: rc.Session, scale: Scale) -> Iterator[Row]:
    """Fits lambda to each noise and to all."""
    for noise, fit in session.fit_lambdas(limit=scale.fitted, grid=scale.grid).items():
        line = fit.lines[fit.dataset_definition]
        about = {"slope": line.slope, "intercept": line.intercept, "r2": line.r2}
        yield {"network": session.run.name, "what": f"lambda fit, {noise}", **about}


def timed(what: str, session: rc.Session, work: Callable[[], Sequence[rc.Record]]) -> Iterator[Row]:
    """Measures, and tells how many records it gave, and how long it took."""
    started = time.perf_counter()
    count = len(work())
    yield {"network": session.run.name, "what": what, "records": count, "seconds": time.perf_counter() - started}


def adaptive(place: Place) -> Iterator[Part]:
    """Inference at other lambdas than that of the training."""
    for bench in benches(place):
        yield partial(throughput.beside_plain, bench, place.scale.sparse)


def uap(place: Place) -> Iterator[Part]:
    """Universal perturbations."""
    for network in place.networks:
        yield partial(fooled, place, network)


def fooled(place: Place, network: str) -> Iterator[Row]:
    """Crafts a universal perturbation of a network, and counts what it and random ones change."""
    session, xi = place.opened(network), DEFAULT_XI["linf"]
    crafting = Crafting(images="", count=place.scale.crafted, delta=0.2, passes=10, batch_size=25)
    started = time.perf_counter()
    records = session.uap(threats=[rc.ThreatModel("linf", xi)], crafting=crafting)
    taken = time.perf_counter() - started
    for record in records:
        kind = type(record.measurement.perturbation).__name__
        yield {
            "network": network,
            "perturbation": kind,
            "metric": record.measurement.metric.value,
            "epsilon": xi,
            "met": record.met,
            "total": record.total,
            "seconds": taken,
        }


def epochs(place: Place) -> Iterator[Part]:
    """An epoch of each network, those of other layers first."""
    for network in (*place.scale.others, *place.networks):
        yield partial(speed_of_epoch, place, network)


class Enough(Exception):
    """The time of an epoch is over."""


class Stopwatch:
    """Times the part of an epoch that `seconds` allow, without its first batch if there are more.

    Attributes:
        times: When the timing began, and when it ended.
        shares: Of the epoch, what was done then.
    """

    def __init__(self, place: Place, seconds: float) -> None:
        self.place, self.seconds = place, seconds
        self.times, self.shares = [time.perf_counter()], [0.0]

    def __call__(self, _: str, done: float, total: float) -> None:
        """Is told after each batch; raises `Enough` when the time is over."""
        first, last = self.shares == [0.0], done == total
        if not (first or last or time.perf_counter() > self.times[0] + self.seconds):
            return
        self.place.wait()
        if first and not last:
            self.times, self.shares = [], []
        self.times.append(time.perf_counter())
        self.shares.append(done / total)
        if len(self.times) == 2:
            raise Enough


def speed_of_epoch(place: Place, network: str) -> Iterator[Row]:
    """Trains a network for one epoch, or for as much of it as the time allows."""
    watch = Stopwatch(place, place.scale.epoch_seconds)
    request = rc.TrainingRequest(model=network, run=f"epoch-{network}", epochs=1)
    measuring = rc.Measuring(progress=watch)
    prepared = PreparedTraining.of(request, place.data(), place.device.type, measuring)
    batch, kept = prepared.recipe.batch_size, len(prepared.images) * (1 - request.heldout)
    images = min(kept, max(1, kept // batch) * batch)

    def interrupted() -> None:
        with suppress(Enough):
            prepared.trained()

    peak = place.peak(interrupted)
    (began, ended), (first, last) = watch.times, watch.shares
    rate = (last - first) * images / (ended - began)
    yield {
        "network": network,
        "precision": prepared.hardware.precision,
        "batch_size": batch,
        "images_per_second": rate,
        "epoch_share": last,
        "epoch_seconds": images / rate,
        "bytes": peak,
    }


def speed_compiled(place: Place) -> Iterator[Part]:
    """Training steps of compiled networks, in the last of the precisions and batch sizes."""
    *_, bench = benches(place)
    yield partial(compiled, place, bench)


def compiled(place: Place, bench: throughput.Bench) -> Iterator[Row]:
    """Times them beside the network that is not compiled, and beside the other one."""
    sparse, plain = place.networks
    with torch.compiler.set_stance("default" if place.scale.compiled else "force_eager"):
        step = bench.training(sparse, compiled=True)
        beside = bench.ratio(bench.training(sparse), step)
        yield throughput.row(bench, "training", f"{sparse} compiled", sparse, beside, "", speed=True)
        beside = bench.ratio(bench.training(plain, compiled=True), step)
        yield throughput.row(bench, "training, both compiled", sparse, plain, beside, "", speed=True)


#: What each of `scales.STEPS` does.
PARTS: dict[str, Callable[[Place], Iterator[Part]]] = {
    "tests": tests,
    "corruptions": corruptions,
    "sweep": sweep,
    "throughput": speed_of_training,
    "training": training,
    "robustness": robustness,
    "adaptive": adaptive,
    "uap": uap,
    "epochs": epochs,
    "compiled": speed_compiled,
}
