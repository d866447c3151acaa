"""What a user waits for, side by side with a peer or a floor: the table `benchmarks/results/speed-cpu.md`.

    python benchmarks/speed                      # all parts
    python benchmarks/speed layers corruptions   # some
    python benchmarks/speed --busy               # beside one busy process a core: speed-cpu-busy.md

A part is a module of this folder with a function ``rows()``; it runs in a process of its own with one thread, unless a
row says otherwise. The file keeps the rows of the parts that were not run.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from row import Row

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
PARTS = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("__main__", "row"))
FIELDS = tuple(field.name for field in dataclasses.fields(Row))


def main() -> None:
    """Reads the arguments, measures the parts, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--busy", action="store_true", help="beside a busy process on each core")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps([dataclasses.astuple(row) for row in importlib.import_module(args.worker).rows()]))
        return
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    target = RESULTS / ("speed-cpu-busy" if args.busy else "speed-cpu")
    rows = read(target.with_suffix(".csv"))
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy * os.cpu_count())]
    try:
        for part in args.parts or PARTS:
            print(part, file=sys.stderr, flush=True)
            rows = [row for row in rows if row.part != part] + measured(part)
            write(target, sorted(rows, key=lambda row: row.part))
    finally:
        for other in others:
            other.kill()


def measured(part: str) -> list[Row]:
    """Returns the rows of a part, measured in a process of its own."""
    process = subprocess.run(
        [sys.executable, str(HERE), "--worker", part],
        env=os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return [Row(*values) for values in json.loads(process.stdout.splitlines()[-1])]


def read(path: Path) -> list[Row]:
    """Returns the rows of a file, none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            Row(
                **{
                    name: text if name in ("part", "what", "other", "unit", "note") else (float(text) if text else None)
                    for name, text in entry.items()
                }
            )  # type: ignore[arg-type]
            for entry in csv.DictReader(file)
        ]


def write(target: Path, rows: list[Row]) -> None:
    """Writes the rows as CSV and as a Markdown table."""
    with target.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(
            [f"{value:.4g}" if isinstance(value, float) else value for value in dataclasses.astuple(row)]
            for row in rows
        )
    lines = ["| part | what | beside | ours | theirs | ratio | target | holds | note |"]
    lines += ["|---|---|---|---:|---:|---:|---:|---|---|"]
    for row in rows:
        aim = "" if row.at_most is None else f"<= {row.at_most:.3g}"
        ratio = f"{row.ratio:.2f} [{row.lowest:.2f}, {row.highest:.2f}]"
        amounts = f"{row.ours:.3g} {row.unit} | {row.theirs:.3g}"
        lines.append(
            f"| {row.part} | {row.what} | {row.other} | {amounts} | {ratio} | {aim} | {row.holds} | {row.note} |"
        )
    target.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
