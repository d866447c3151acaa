"""What storing corrupted images as ImageNet-C's changes for a network: accuracies and mCE beside those on floats.

    robustcsc sweep --run lite0 --corruptions standard
    robustcsc sweep --run lite0 --corruptions standard --float
    python benchmarks/as_published.py runs/lite0

Both sweeps are of the same images with the same draws, and are compared image by image. The product never does that:
to its reports they are two measurements. Writes ``as-published.csv`` and the same as Markdown, for the corruptions that
both have at all severities; mCE, relative to the published errors of AlexNet, once there are all 15.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from rows import RESULTS, write_csv

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.perturbations import SEVERITIES, Corruption, Pixels, Source
from robustcsc.measurements.policies import NoLambda, TrainingLambda
from robustcsc.measurements.records import Outcomes, Record
from robustcsc.measurements.statistics import Difference, Shares
from robustcsc.measurements.store import ResultStore
from robustcsc.reports.corruptions.baselines import ALEXNET, ALEXNET_TABLE

Cells = dict[Pixels, dict[tuple[str, int], Outcomes]]


def cells_of(records: list[Record]) -> tuple[Cells, int]:
    """Returns the outcomes of generated corruptions by pixels, name and severity, on the most images that have both."""
    found: dict[str, Cells] = defaultdict(lambda: {Pixels.FLOAT: {}, Pixels.JPEG: {}})
    for record in records:
        it, made = record.measurement, record.measurement.perturbation
        if not isinstance(made, Corruption) or (made.source, made.table.name) != (Source.GENERATED, ALEXNET_TABLE):
            continue
        if it.policy in (NoLambda(), TrainingLambda()) and made.pixels in (Pixels.FLOAT, Pixels.JPEG):
            assert record.outcomes is not None
            found[it.images.fingerprint][made.pixels][made.name, made.severity] = record.outcomes
    cells = max(found.values(), key=lambda its: len(its[Pixels.FLOAT].keys() & its[Pixels.JPEG].keys()))
    return cells, next(iter(cells[Pixels.FLOAT].values())).count


def main() -> None:
    """Reads the run and writes the two files."""
    parser = argparse.ArgumentParser(description="Accuracies on images as published beside those on floats.")
    parser.add_argument("run", type=Path, help="Folder of the run.")
    parser.add_argument("--output", type=Path, default=RESULTS / "imagenet-lite0", help="Folder of the files.")
    arguments = parser.parse_args()
    with ResultStore(arguments.run / "results.sqlite", read_only=True) as store:
        cells, count = cells_of(list(store.records()))
    shares: dict[str, tuple[Shares, Shares]] = {}
    for name in STANDARD_CORRUPTIONS:
        keys = [(name, severity) for severity in SEVERITIES]
        if all(key in cells[pixels] for key in keys for pixels in cells):
            published, floats = (Shares.of([cells[it][key] for key in keys]) for it in (Pixels.JPEG, Pixels.FLOAT))
            assert published is not None and floats is not None
            shares[name] = published, floats
    rows = [row(name, *pair) for name, pair in shares.items()]
    notes = []
    if len(shares) == len(STANDARD_CORRUPTIONS):
        rows.append(row("mean of 15", *(joined([pair[at] for pair in shares.values()]) for at in (0, 1))))
        notes = [mce_words(shares)]
    write_csv(arguments.output / "as-published.csv", rows)
    (arguments.output / "as-published.md").write_text("\n".join([*markdown(rows), "", *notes, ""]))
    print("\n".join([*markdown(rows), "", f"{count} images", *notes]))


def row(name: str, published: Shares, floats: Shares) -> dict[str, object]:
    """Returns the accuracies of one corruption, in percent, and their difference."""
    difference = Difference.paired(published, floats)
    return {
        "corruption": name,
        "images": len(published.counts),
        "as published": 100 * published.score.rate,
        "as floats": 100 * floats.score.rate,
        "difference": difference.points,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p_value,
    }


def joined(shares: list[Shares]) -> Shares:
    """Returns the counts over all cells of several corruptions."""
    return Shares(np.sum([it.counts for it in shares], axis=0), sum(it.cells for it in shares))


def mce_words(shares: dict[str, tuple[Shares, Shares]]) -> str:
    """Returns the mCE of both in a sentence; the images are the unit of the interval of their difference."""

    def relative(at: int) -> np.ndarray:
        ratios = [
            (1 - pair[at].counts / pair[at].cells) / np.mean(ALEXNET.by_corruption[name])
            for name, pair in shares.items()
        ]
        return 100 * np.mean(ratios, axis=0)

    published, floats = relative(0), relative(1)
    change = published - floats
    reach = 1.96 * change.std(ddof=1) / len(change) ** 0.5
    return (
        f"mCE relative to AlexNet's published errors: {published.mean():.1f} as published. The same ratio is "
        f"{floats.mean():.1f} on floats, where it is no mCE; the difference is {change.mean():+.2f} "
        f"[{change.mean() - reach:+.2f}, {change.mean() + reach:+.2f}]."
    )


def markdown(rows: list[dict[str, object]]) -> list[str]:
    """Returns the rows as the lines of a table."""
    lines = ["| corruption | as published | as floats | difference in points |", "|---|---:|---:|---:|"]
    for it in rows:
        numbers = f"{it['as published']:.1f} | {it['as floats']:.1f} | {it['difference']:+.1f}"
        lines.append(f"| {str(it['corruption']).replace('_', ' ')} | {numbers} [{it['low']:+.1f}, {it['high']:+.1f}] |")
    return lines


if __name__ == "__main__":
    main()
