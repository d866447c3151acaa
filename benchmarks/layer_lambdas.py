"""What a lambda per layer brings to networks whose every convolution is a CSC layer: accuracy under noise.

    cd benchmarks
    robustcsc train layer_lambdas:textures_all --data textures --recipe textures --run textures-all --threads 1
    python layer_lambdas.py textures-all --float
    robustcsc train layer_lambdas:sdnet8_all --data imagefolder --root FOLDER --image-size 32 --recipe cpu --epochs 3 \
        --run sdnet8-all --threads 1
    python layer_lambdas.py sdnet8-all --factory sdnet8_all --noises gaussian,impulse --heldout 500 --test 1000

Two small SDNet-All. Lambda is fitted on held-out training images, once for all layers and once per layer, and scored on
test images under noises of severities 1 to 5: at the training lambda, by the line per data set and per image of either
fit, and at the best common lambda by the test labels. Differences are paired over images.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

from rows import RESULTS, machine, write_csv
from torch import device, nn

import robustcsc as rc
from robustcsc.data.splits import evenly_spaced
from robustcsc.layers.csc import CSCConv2d
from robustcsc.layers.normalize import Normalize
from robustcsc.layers.residual import BasicBlock, ResidualNetwork, stem
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.policies import Adaptive, Scope
from robustcsc.measurements.records import Record
from robustcsc.reports.comparisons.differences import difference
from robustcsc.session.measuring import AnyPolicy

GRID = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
WAYS = {
    "training lambda": None,
    "one lambda, per data set": "training lambda",
    "lambda per layer, per data set": "one lambda, per data set",
    "one lambda, per image": "training lambda",
    "lambda per layer, per image": "one lambda, per image",
    "oracle of one lambda": "one lambda, per data set",
}


def sdnet8_all(lam: float = 0.1) -> nn.Module:
    """Returns an SDNet-All of seven CSC layers, widths 16 and 8-16-32, for images of CIFAR-10."""
    csc = partial(CSCConv2d, lam=lam)
    block = partial(BasicBlock, layer=csc, inner=nn.Identity)
    network = ResidualNetwork(stem("cifar", 3, 16, csc, nn.Identity()), 16, (8, 16, 32), (1, 1, 1), 10, block)
    return nn.Sequential(Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)), network)


def textures_all(lam: float = 0.1) -> nn.Module:
    """Returns an SDNet-All of five CSC layers, widths 16 and 8-16, for textures."""
    csc = partial(CSCConv2d, lam=lam)
    block = partial(BasicBlock, layer=csc, inner=nn.Identity)
    first = stem("imagenet", 3, 16, csc, nn.Identity(), nn.Identity())
    network = ResidualNetwork(first, 16, (8, 16), (1, 1), 10, block)
    return nn.Sequential(Normalize((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)), network)


def measured(session: rc.Session, noise: str, heldout: int, test: int, as_published: bool) -> dict[str, list[Record]]:
    """Returns the records under a noise by what they say of lambda, severities 1 to 5 in each."""
    common, layers = (
        session.fit_lambdas([noise], grid=GRID, per_layer=own, limit=heldout, as_published=as_published)[noise]
        for own in (False, True)
    )
    policies: tuple[AnyPolicy, ...] = (
        "train",
        common,
        layers,
        *(Adaptive(scope=Scope.IMAGE, fit=fit.digest) for fit in (common, layers)),
        "oracle",
    )
    images = evenly_spaced(session.images(), test)
    records = session.sweep(images, corruptions=NOISE_KERNELS[noise], policies=policies, as_published=as_published)
    found: dict[str, list[Record]] = {way: [] for way in WAYS}
    for number, record in enumerate(records):
        if isinstance(record.measurement.perturbation, Corruption):
            found[list(WAYS)[number % len(WAYS)]].append(record)
    return found


def rows(run: str, by_noise: dict[str, dict[str, list[Record]]]) -> Iterator[dict[str, object]]:
    """Yields a row per noise and severity, and of all of them, and way."""
    cells: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for noise, by_way in by_noise.items():
        for way, records in by_way.items():
            for at, record in enumerate(records, 1):
                for cell in ((noise, str(at)), ("all", str(at)), (noise, "all"), ("all", "all")):
                    cells[cell][way].append(record)
    for (noise, severity), ways in cells.items():
        for way, beside in WAYS.items():
            its = ways[way]
            row: dict[str, object] = {"run": run, "noise": noise, "severity": severity, "lambda": way}
            row |= {"images": its[0].total, "accuracy": round(100 * sum(it.met / it.total for it in its) / len(its), 2)}
            if beside is not None:
                paired = difference(its, ways[beside])
                row |= {"beside": beside, "points": round(paired.points, 2)}
                row |= {"low": round(paired.low, 2), "high": round(paired.high, 2)}
            yield row | machine(device("cpu"))


def main(argv: Sequence[str] | None = None) -> None:
    """Measures a run and writes its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--factory", default="textures_all")
    parser.add_argument("--noises", default=",".join(NOISE_KERNELS))
    parser.add_argument("--heldout", type=int, default=400, help="held-out images, of which a half is for the levels")
    parser.add_argument("--test", type=int, default=500, help="test images")
    parser.add_argument("--float", action="store_true", help="leave noisy images floats")
    asked = parser.parse_args(argv)
    session = rc.open(asked.run, model=f"layer_lambdas:{asked.factory}", device="cpu")
    by_noise = {}
    for noise in asked.noises.split(","):
        by_noise[noise] = measured(session, noise, asked.heldout, asked.test, not asked.float)
        found = list(rows(asked.run, by_noise))  # what there is so far
        write_csv(
            RESULTS / "layer-lambdas-cpu" / f"{asked.run}.csv", found, dict.fromkeys(k for it in found for k in it)
        )
        print(noise, flush=True)


if __name__ == "__main__":
    main()
