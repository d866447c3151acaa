"""What helps at test time without training: every policy over all corruptions, for an SDNet-20 and a ResNet-20.

    OMP_NUM_THREADS=1 python benchmarks/test_time.py --root CIFAR10 --images batch=10000 other=2000 slow=1000
    python benchmarks/test_time.py --root CIFAR10 --tables          # only the tables of what is there

Clean images and 19 corruptions at five severities are each made once, and shown to all policies of both models. What
they answer is kept in `--out`, image by image: an interrupted run goes on where it was, a run with more policies or
images measures what is missing, and the tables are read off without a model. Policies come in kinds, each with a number
of images: `batch` (batches of 250), `other` (batches of 16 and 1, sorted by class), `slow` (TENT, denoising).

The policy blind needs its fit in the run (`robustcsc fit-lambda --noise blind`) and is left out without one, as is
denoising without scikit-image. Means of a
policy are compared with those of the plain model (training lambda) on the same images; intervals: 95 %, by 1,000
resamplings of images.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rows import RESULTS, write_csv
from torch import Tensor

import robustcsc as rc
from robustcsc.corruptions import SEVERITIES
from robustcsc.data import Batch
from robustcsc.evaluation.predictions import predict_as_read
from robustcsc.evaluation.sources import corrupted_batches, planned_corruptions
from robustcsc.measurements.adaptations import parse_adaptation
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import Clean, Corruption
from robustcsc.measurements.policies import Policy, adapted, parse_policy
from robustcsc.session.measuring import Setup

MODELS = ("sdnet20-cifar10-jpeg", "resnet20-cifar10-jpeg")
PLAIN = "train none"
COMBINED = ("blind shift", "train shift")
#: Policies by kind: how lambda is chosen, which a ResNet leaves out, and what else is done.
KINDS: Mapping[str, Mapping[str, str]] = {
    "batch": {"train": "none shift bn bn:prior=250 bn:prior=64", "blind": "none shift bn:prior=250"},
    "other": {
        "train": "shift:batch=16 bn:batch=16 bn:batch=16:prior=64 shift:order=class bn:order=class "
        "bn:prior=250:order=class shift:batch=1 bn:batch=1:prior=16",
        "blind": "shift:batch=16 shift:order=class shift:batch=1",
    },
    "slow": {"train": "tent tent:batch=16 tent:order=class denoise-wavelet denoise-tv denoise-nlm"},
}
Right = NDArray[np.float64]  # (images, cells): whether each image is right


@dataclass(frozen=True)
class Kind:
    """Policies of one model with the rows of the images that they are shown."""

    setup: Setup
    policies: Mapping[str, Policy]
    rows: Tensor

    def answers(self, made: Clean | Corruption, images: Tensor) -> dict[str, NDArray[np.uint8]]:
        """Returns the class that each policy gives each of its images, of all images of a cell."""
        facts, clean, shown = self.setup.model.facts, self.setup.images.subset(self.rows), images[self.rows]

        def stream(size: int, rows: Tensor | None) -> Iterator[Batch]:
            order = torch.arange(len(shown)) if rows is None else rows
            for part in order.split(size):
                yield Batch(shown[part], clean.labels[part], clean.positions[part])

        resolved = {name: facts.resolved(policy, made) for name, policy in self.policies.items()}
        found = predict_as_read(
            self.setup.model,
            resolved.values(),
            lambda size, rows: lambda: stream(size, rows),
            clean,
            size=250,
            num_classes=len(clean.classes),
        )
        return {name: np.array(found[policy].classes, np.uint8) for name, policy in resolved.items()}


def kinds_of(run: str, root: Path, limits: Mapping[str, int]) -> dict[str, Kind]:
    """Returns the kinds of policies of a model."""
    how = rc.Measuring(test_time=("none", "shift"), note=print)
    session = rc.open(run, data=rc.DataChoice("imagefolder", root, image_size=32), measuring=how)
    most = max(limits.values())
    spec = session.severity_table()
    setup = session.setup(session.images(limit=most), ()).reading({"table": spec.path}, spec=spec)
    if setup.model.reference:
        session.run.folder.mkdir(parents=True, exist_ok=True)
        setup.model.reference.save(session.run.folder)
    facts, count = setup.model.facts, len(setup.images)
    denoises, found = find_spec("skimage") is not None, {}
    for kind, its in KINDS.items():
        policies: dict[str, Policy] = {}
        for lam, made in its.items():
            if lam == "train" or (facts.has_lambda and lam in facts.fits):
                chosen = parse_policy(lam) if facts.has_lambda else facts.own_policy
                words = [it for it in made.split() if denoises or not it.startswith("denoise")]
                policies |= {f"{lam} {word}": adapted(chosen, parse_adaptation(word)) for word in words}
        shown = min(limits[kind], count)
        found[kind] = Kind(setup, policies, torch.arange(shown) * count // shown)
    return found


def measure(models: Mapping[str, Mapping[str, Kind]], out: Path) -> None:
    """Measures every policy that has not yet answered as many images, cell by cell."""
    setup = next(iter(next(iter(models.values())).values())).setup
    spec = setup.inputs.spec
    assert spec is not None
    names = [*STANDARD_CORRUPTIONS, *(name for name in spec.corruptions if name not in STANDARD_CORRUPTIONS)]
    order = [severity for severity in (5, 3, 1, 4, 2) if severity in SEVERITIES]
    made = [it for severity in order for it in planned_corruptions(setup.inputs, names, [severity])]
    cells: list[Clean | Corruption] = [Clean(), *made]
    for number, cell in enumerate(cells):
        started, images = time.process_time(), None
        for run, kinds in models.items():
            file = out / run / f"{words_of(cell)}.npz"
            known = dict(np.load(file)) if file.exists() else {}
            lacking = {
                kind: {name: it for name, it in its.policies.items() if len(known.get(name, ())) != len(its.rows)}
                for kind, its in kinds.items()
            }
            for kind, policies in lacking.items():
                if policies:
                    images = images_of(setup, cell) if images is None else images
                    known |= Kind(setup=kinds[kind].setup, policies=policies, rows=kinds[kind].rows).answers(
                        cell, images
                    )
                    file.parent.mkdir(parents=True, exist_ok=True)
                    part = file.with_suffix(".part.npz")
                    np.savez_compressed(part, **known)
                    part.rename(file)
            labels = out / run / "labels.npz"
            np.savez_compressed(
                labels, **{f"{len(it.rows)}": setup.images.labels[it.rows].numpy() for it in kinds.values()}
            )
        left = (len(cells) - number - 1) * (time.process_time() - started) / 3600
        print(f"{number + 1}/{len(cells)} {words_of(cell)}: about {left:.1f} CPU hours left", flush=True)


def images_of(setup: Setup, cell: Clean | Corruption) -> Tensor:
    """Returns all images of a cell."""
    if isinstance(cell, Clean):
        return torch.cat([batch.images for batch in setup.images.batches(250)])
    batches = corrupted_batches(setup.inputs, cell, 250, torch.device("cpu"))
    return torch.cat([batch.images for batch in batches])


def words_of(cell: Clean | Corruption) -> str:
    """Returns the name of a cell."""
    return "clean 0" if isinstance(cell, Clean) else f"{cell.name} {cell.severity}"


def estimate(models: Mapping[str, Mapping[str, Kind]]) -> None:
    """Prints how long every kind will take, from a batch of clean images, of which each policy sees 64 (alone: 16)."""
    for run, kinds in models.items():
        for kind, its in kinds.items():
            images, total = next(iter(its.setup.images.batches(64))).images, 0.0
            for name, policy in its.policies.items():
                shown = min(len(images), 16 if "batch=1:" in f"{name}:" else 64)
                few = Kind(its.setup, {name: policy}, torch.arange(shown))
                few.answers(Clean(), images)  # the first time is slower
                started = time.process_time()
                few.answers(Clean(), images)
                total += (time.process_time() - started) / shown * len(its.rows) * 96
            print(
                f"{run}, {kind}: {len(its.policies)} policies, {len(its.rows)} images: "
                f"about {total / 3600:.2f} CPU hours for all cells",
                flush=True,
            )


def right_of(folder: Path) -> tuple[list[tuple[str, int]], dict[str, Right]]:
    """Returns the cells that are there, and for every policy that has answered all of them which images are right."""
    labels = {int(count): its for count, its in np.load(folder / "labels.npz").items()}
    files = [it for it in folder.glob("*.npz") if it.name != "labels.npz" and ".part" not in it.name]
    places = {it: (it.stem.rsplit(" ", 1)[0], int(it.stem.rsplit(" ", 1)[1])) for it in files}
    files.sort(key=lambda it: places[it])
    loaded = [dict(np.load(it)) for it in files]
    names = [name for name in loaded[0] if all(name in its for its in loaded)]
    names = [name for name in names if len({len(its[name]) for its in loaded}) == 1]
    return [places[it] for it in files], {
        name: np.stack([its[name] == labels[len(its[name])] for its in loaded], 1).astype(float) for name in names
    }


def tables_of(run: str, folder: Path) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Returns a row for each policy, and one for each corruption."""
    cells, right = right_of(folder)
    whole = len(right[PLAIN])
    corruptions = list(dict.fromkeys(name for name, _ in cells if name != "clean"))
    of = {name: [at for at, cell in enumerate(cells) if cell[0] == name] for name in ("clean", *corruptions)}
    standard = [name for name in corruptions if name in STANDARD_CORRUPTIONS]
    rows: list[dict[str, object]] = []
    for name, its in right.items():
        plain = right[PLAIN][np.arange(len(its)) * whole // len(its)]
        mean = np.mean([its[:, of[each]].mean(1) for each in standard], 0)
        gain = mean - np.mean([plain[:, of[each]].mean(1) for each in standard], 0)
        low, high = interval(gain)
        ratios = [(1 - its[:, of[each]].mean()) / (1 - plain[:, of[each]].mean()) for each in standard]
        changes = {each: 100 * (its[:, of[each]].mean() - plain[:, of[each]].mean()) for each in corruptions}
        worst = min(changes, key=lambda each: changes[each])
        clean = its[:, of["clean"]].mean(1) - plain[:, of["clean"]].mean(1)
        clean_low, clean_high = interval(clean)
        rows.append(
            {
                "run": run,
                "policy": name,
                "images": len(its),
                "cells": len(cells),
                "clean": f"{100 * its[:, of['clean']].mean():.2f}",
                "clean change": f"{100 * clean.mean():+.2f} [{clean_low:+.2f}, {clean_high:+.2f}]",
                f"error of {len(standard)}": f"{100 * (1 - mean.mean()):.2f}",
                "gain": f"{100 * gain.mean():+.2f} [{low:+.2f}, {high:+.2f}]",
                "mCE": f"{100 * np.mean(ratios):.1f}",
                "worst change": f"{changes[worst]:+.1f} ({worst})",
            }
        )
    return rows, list(best_rows(run, right, of))


def best_rows(run: str, right: Mapping[str, Right], of: Mapping[str, Sequence[int]]) -> Iterator[dict[str, object]]:
    """Yields for clean images and each corruption the best policy of shuffled batches, and how far off shift is.

    All are seen on the images that those with the fewest have.
    """
    singles = [name for name in right if "order=" not in name and "batch=" not in name]
    few = min(len(right[name]) for name in singles)
    combined = [name for name in COMBINED if name in right]
    for corruption, places in of.items():
        means = {
            name: 100 * right[name][np.arange(few) * len(right[name]) // few][:, places].mean() for name in singles
        }
        best = max((name for name in means if "shift" not in name), key=lambda name: means[name])
        yield {
            "run": run,
            "corruption": corruption,
            "images": few,
            "plain": f"{means[PLAIN]:.2f}",
            "best other policy": best,
            "its accuracy": f"{means[best]:.2f}",
        } | {name: f"{means[name]:.2f} ({means[name] - means[best]:+.2f})" for name in combined}


def interval(values: Right) -> tuple[float, float]:
    """Returns the 95 % interval of a mean over images, in percent."""
    drawn = np.random.default_rng(0).integers(len(values), size=(1000, len(values)))
    low, high = 100 * np.percentile(values[drawn].mean(1), (2.5, 97.5))
    return float(low), float(high)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Returns rows as Markdown."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([str(row.get(head, "")) for head in heads] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    """Measures what is missing, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="CIFAR-10 as class folders, train/ and test/")
    parser.add_argument("--images", nargs="+", default=["batch=2000", "other=1000", "slow=500"], metavar="KIND=N")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--out", type=Path, default=Path("test-time-cells"), help="where the answers are kept")
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    limits = {kind: int(count) for kind, _, count in (it.partition("=") for it in asked.images)}
    if not asked.tables:
        models = {run: kinds_of(run, asked.root, limits) for run in asked.models}
        estimate(models)
        measure(models, asked.out)
    for place, found in (("policies", 0), ("corruptions", 1)):
        text = ""
        for run in asked.models:
            rows = tables_of(run, asked.out / run)[found]
            write_csv(RESULTS / "test-time-cpu" / f"{place}-{run}.csv", rows)
            text += table(rows) + "\n"
        (RESULTS / "test-time-cpu" / f"{place}.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
