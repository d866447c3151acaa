"""Lambda for noise that nobody names: the policy blind beside all others, on streams of mixed images.

    python benchmarks/blind.py --root CIFAR10 --images 10000
    python benchmarks/blind.py --run SEED0 --run SEED1 --root CIFAR10 --lossless EXACT --images 1000 --cells stream

Every cell (clean images, a corruption at a severity, two in turn) is passed once through the network at each lambda of
the grid. What the network says is kept in `--out`, so that an interrupted run goes on, and all policies are read off
it; the lambda of an image is rounded to the grid, in the logarithm. The fits are those of the run, or made first.

`blind, family unseen` estimates by the other three families; `mean of predictions` weighs those at all lambdas by a
softmax of their expected gains; the paper's policy is told the family and sees the whole cell. The oracles know the
labels: one lambda for all cells, one for each, or one for each image. Intervals: 95 %, by 1,000 resamplings of images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rows import RESULTS, write_csv
from torch import Tensor

import robustcsc as rc
from robustcsc.adaptive.blind import BlindLambda, fit_posterior
from robustcsc.adaptive.features import features
from robustcsc.adaptive.policies import predict
from robustcsc.adaptive.residuals import layer_residuals, logits_at, mean_residual
from robustcsc.adaptive.search import Search
from robustcsc.corruptions import SEVERITIES, corrupt
from robustcsc.data import ImageSet
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.corruptions import NOISE_KERNELS, STANDARD_CORRUPTIONS
from robustcsc.measurements.facts import replace
from robustcsc.measurements.fits import FAMILIES, LambdaFit
from robustcsc.session.session import Session
from robustcsc.training.parts import heldout_images

Cell = tuple[tuple[str, int], ...]  # corruptions with their severities, one after the other
Right = NDArray[np.float64]  # whether each image is right
NOISES = {kernel: family for family, kernel in NOISE_KERNELS.items()}
OTHERS = [name for name in STANDARD_CORRUPTIONS if name not in NOISES]
MULTIPLES = (1, 2, 3, 5, 7, 9, 12, 15)
TRAINING, BLIND, BY_CELL = "training lambda", "blind", "oracle per cell"


def cells(kind: str, severities: Sequence[int]) -> list[Cell]:
    """Returns the cells of a stream."""
    if kind == "composed":
        return [((first, 3), (noise, 3)) for first in ("defocus_blur", "jpeg_compression", "fog") for noise in NOISES]
    names = NOISES if kind == "noise" else OTHERS
    clean: list[Cell] = [()] if kind == "noise" else []
    return [*clean, *(((name, severity),) for severity in severities for name in names)]


def words(cell: Cell) -> str:
    """Returns the name of a cell."""
    return " then ".join(f"{name} {severity}" for name, severity in cell) or "clean"


@dataclass(frozen=True)
class Bench:
    """A run with its fits, and where what it says is kept."""

    session: Session
    images: ImageSet
    grid: tuple[float, ...]
    folder: Path

    @cached_property
    def fits(self) -> Mapping[str, LambdaFit]:
        """The fits of all families, the pooled one and the blind one."""
        known = self.session.model.fits
        lacking = [it for it in FAMILIES if it not in known]
        return {**known, **(self.session.fit_lambdas(lacking, as_published=False) if lacking else {})}

    @cached_property
    def unseen(self) -> Mapping[str, BlindLambda]:
        """The estimator without each family; this takes no pass of the network."""
        fit = self.fits["blind"]
        images, _ = heldout_images(self.session.images("train"), self.session.trained)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(fit.seed))
        images = images.subset(order[: 2 * fit.levels[0].total].sort().values)  # as the fit takes them
        images = images.subset(torch.arange(0, len(images), 2))
        search = Search(self.model, fit.grid, 0, self.session.severity_table(), fit.pixels, fit.seed, 250, "cpu")
        seen = []
        for level in fit.levels:
            batches = images.batches(250, as_bytes=True)
            found = [features(search.noisy(batch, level.noise, level.parameters)) for batch in batches]
            seen.append((level, torch.cat(found)))
        estimators = {}
        for family, kernel in NOISE_KERNELS.items():
            rest = fit_posterior([it for it in seen if it[0].noise != kernel], fit.grid, fit.lam0)
            guarded = replace(rest, least_gain=fit.estimator.least_gain if fit.estimator else 0.0)
            estimators[family] = BlindLambda(guarded, fit.lam0, fit.grid)
        return estimators

    @property
    def model(self) -> torch.nn.Module:
        """Images to logits."""
        return self.session.model.model

    def seen(self, cell: Cell) -> dict[str, Tensor]:
        """Returns probabilities (N, lambdas, classes), features, residuals and labels of a cell."""
        file = self.folder / f"{words(cell)}.pt"
        if not file.exists():
            parts = list(self._measured(cell))
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save({name: torch.cat([it[name] for it in parts]) for name in parts[0]}, file.with_suffix(".part"))
            file.with_suffix(".part").rename(file)
        found: dict[str, Tensor] = torch.load(file)
        return found

    def _measured(self, cell: Cell) -> Iterator[dict[str, Tensor]]:
        definition, spec = self.fits["pooled"].image_definition, self.session.severity_table()
        with evaluation_mode(self.model), torch.inference_mode():
            for batch in self.images.batches(250):
                images = batch.images
                for name, severity in cell:
                    images = corrupt(images, spec, name, severity, seed=0, indices=batch.indices)
                images = images.contiguous(memory_format=torch.channels_last)
                squared, energy = layer_residuals(self.model, images)
                yield {
                    "probabilities": torch.stack([logits_at(self.model, images, it).softmax(1) for it in self.grid], 1),
                    "features": features(images),
                    "squared": squared.mean(1).double(),
                    "image": mean_residual(squared, energy, definition).double(),
                    "labels": batch.labels,
                }

    def right(self, cell: Cell) -> dict[str, Right]:
        """Returns whether each image of a cell is right, under each policy and at each lambda of the grid."""
        seen, pooled, blind = self.seen(cell), self.fits["pooled"], self.fits["blind"]
        found = (seen["probabilities"].argmax(2) == seen["labels"][:, None]).numpy().astype(float)
        family = NOISES.get(cell[-1][0]) if cell else None
        told = self.fits[family or "pooled"]
        assert blind.estimator is not None
        estimate = BlindLambda(blind.estimator, blind.lam0, blind.grid)
        chosen = {
            TRAINING: torch.tensor(blind.lam0),
            "pooled line per image": predict(pooled.image_line, seen["image"], pooled.grid),
            "paper: family told, whole set": predict(told.lines["squared"], seen["squared"].mean(), told.grid),
            BLIND: estimate(seen["features"]),
            "blind without guard": estimate.expected(seen["features"])[0],
            "blind, family unseen": (self.unseen[family] if family else estimate)(seen["features"]),
        }
        rows = np.arange(len(found))
        right = {name: found[rows, self._places(lam, len(found))] for name, lam in chosen.items()}
        shares = torch.zeros(len(found), len(self.grid), dtype=torch.float64)
        weights = (estimate.expected_gains(seen["features"]) / 0.01).softmax(1)
        shares.index_add_(1, torch.from_numpy(self._places(estimate.grid, len(estimate.grid))), weights)
        mean = (shares[:, :, None] * seen["probabilities"].double()).sum(1).argmax(1)
        right["mean of predictions"] = (mean == seen["labels"]).numpy().astype(float)
        right[BY_CELL] = found[:, found.mean(0).argmax()]
        right["oracle per image"] = found.max(1)
        return right | {f"lambda {lam:g}": found[:, place] for place, lam in enumerate(self.grid)}

    def _places(self, lam: Tensor, count: int) -> NDArray[np.int64]:
        """Returns the place in the grid that is nearest to each lambda, in the logarithm."""
        values, lambdas = lam.double().expand(count).log(), torch.tensor(self.grid, dtype=torch.float64).log()
        return np.asarray((values[:, None] - lambdas).abs().argmin(1))


def rows_of(run: str, stream: str, found: Mapping[Cell, Mapping[str, Right]]) -> Iterator[dict[str, object]]:
    """Yields the rows of a stream in which all kinds of images are alike frequent, and so are their severities."""
    kinds = [tuple(name for name, _ in cell) for cell in found]
    weights = np.array([1 / kinds.count(kind) for kind in kinds]) / len(set(kinds))
    means = {name: weights @ np.stack([it[name] for it in found.values()]) for name in next(iter(found.values()))}
    best = max((name for name in means if name.startswith("lambda ")), key=lambda name: float(means[name].mean()))
    means = {name: it for name, it in means.items() if not name.startswith("lambda ")} | {
        "oracle per stream": means[best]
    }
    images = len(means[TRAINING])
    drawn = np.random.default_rng(0).integers(images, size=(1000, images))
    for name, right in means.items():
        gain, top = right - means[TRAINING], means[BY_CELL] - means[TRAINING]
        gains = gain[drawn].mean(1)
        tops = top[drawn].mean(1)
        row: dict[str, object] = {"run": run, "stream": stream, "policy": name, "images": images, "cells": len(found)}
        row |= {"accuracy": 100 * right.mean(), "gain": 100 * gain.mean()}
        row |= dict(zip(("gain_low", "gain_high"), 100 * np.percentile(gains, (2.5, 97.5)), strict=True))
        if tops.min() > 0:
            row |= {"share": 100 * gain.mean() / top.mean()}
            row |= dict(zip(("share_low", "share_high"), 100 * np.percentile(gains / tops, (2.5, 97.5)), strict=True))
        yield row


def streams(found: Mapping[Cell, Mapping[str, Right]]) -> Iterator[tuple[str, Mapping[Cell, Mapping[str, Right]]]]:
    """Yields the streams that some cells make up."""

    def some(names: Iterable[str]) -> Mapping[Cell, Mapping[str, Right]]:
        return {cell: it for cell, it in found.items() if len(cell) < 2 and {name for name, _ in cell} <= {*names}}

    noisy, others = some(NOISES), some(OTHERS)
    if () in found:
        yield "clean", {(): found[()]}
        yield "clean and four noises", noisy
        yield from ((name, {cell: it for cell, it in some([name]).items() if cell}) for name in NOISES)
    if len(others) > 1:
        yield "other corruptions", {cell: it for cell, it in others.items() if cell}
        yield "clean, four noises, other corruptions", noisy | others
        yield "15 standard corruptions", {cell: it for cell, it in some(STANDARD_CORRUPTIONS).items() if cell}
    if composed := {cell: it for cell, it in found.items() if len(cell) > 1}:
        yield "corruption, then noise", composed


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Returns the rows as Markdown."""
    lines = [
        "| run | stream | policy | accuracy | gain in points | share of the oracle's gain |",
        "|---|---|---|---:|---:|---:|",
    ]
    for row in rows:
        cells_ = [str(row["run"]), str(row["stream"]), str(row["policy"]), f"{row['accuracy']:.2f}"]
        cells_.append(f"{row['gain']:+.2f} [{row['gain_low']:+.2f}, {row['gain_high']:+.2f}]")
        share = f"{row['share']:.0f} % [{row['share_low']:.0f}, {row['share_high']:.0f}]" if "share" in row else ""
        lines.append(f"| {' | '.join([*cells_, share])} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measures what is asked for; each run adds to the tables when all its cells are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", help="run or shipped model; several for several trainings")
    parser.add_argument("--root", required=True, help="CIFAR-10 as class folders, train/ and test/")
    parser.add_argument("--lossless", help="the test images from elsewhere, as class folders")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--cells", nargs="+", default=["noise", "other", "composed"])
    parser.add_argument("--severities", nargs="+", type=int, default=list(SEVERITIES))
    parser.add_argument("--out", type=Path, default=Path("blind-cells"), help="where what the network says is kept")
    asked = parser.parse_args()
    rows: list[dict[str, object]] = []
    for run in asked.run or ["sdnet20-cifar10-jpeg"]:
        session = rc.open(run, data=rc.DataChoice("imagefolder", root=asked.root, image_size=32))
        sets = {"": session.images(limit=asked.images)}
        if asked.lossless:
            exact = rc.DataChoice("imagefolder", root=asked.lossless, image_size=32)
            sets["unseen data: "] = exact.load(session.trained, "test", asked.images)
        for place, images in sets.items():
            lam0 = session.model.facts.lam0 or 0.1
            grid = tuple(round(lam0 * it, 6) for it in MULTIPLES)
            bench = Bench(session, images, grid, asked.out / session.run.name / images.fingerprint)
            found = {}
            for cell in [it for kind in asked.cells for it in cells(kind, asked.severities)]:
                found[cell] = bench.right(cell)
                print(
                    session.run.name,
                    place,
                    words(cell),
                    {name: round(100 * it.mean(), 2) for name, it in found[cell].items()},
                    flush=True,
                )
            for stream, those in streams(found):
                rows += rows_of(session.run.name, place + stream, those)
            folder = RESULTS / "blind-cpu"
            write_csv(
                folder / "streams.csv",
                [{name: f"{it:.4f}" if isinstance(it, float) else it for name, it in row.items()} for row in rows],
                [*rows[0], "share", "share_low", "share_high"][:12],
            )
            (folder / "streams.md").write_text(table(rows))


if __name__ == "__main__":
    main()
