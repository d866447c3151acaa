from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustcsc.measurements.fits import LambdaFit
from robustcsc.records import FOOLING, Record
from robustcsc.report import write_report
from robustcsc.report.paper_figures import COLUMN, paper_plots

from .test_trainings import measured, training

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]


def points(ax: Any) -> list[tuple[list[float], ...]]:
    return [tuple([round(float(it), 6) for it in part] for part in line.get_data()) for line in ax.lines]


def test_sdnet_2_has_a_panel_per_noise_and_marks_the_best_lambda(records: list[Record]) -> None:
    (plot,) = paper_plots("sdnet", records, [])
    (ax,) = plot.figure.axes
    assert ax.get_title() == "gaussian noise"
    lines = points(ax)
    assert lines[0] == ([0.1, 0.5, 0.9], [79.6, 76.4, 60.4])  # 9000 - 1000 - 4000 (lambda - 0.2)^2, of 10000
    assert lines[1] == ([0.1], [79.6])
    assert len(plot.figure.legends[0].get_texts()) == 5


def test_sdnet_3_has_crosses_and_the_line_through_them(fit: FitMaker) -> None:
    (plot,) = paper_plots("sdnet", [], [fit("shot"), fit("gaussian")])
    assert [ax.get_title() for ax in plot.figure.axes] == ["gaussian noise", "shot noise"]
    crosses, line = points(plot.figure.axes[0])
    assert crosses == ([1.0, 5.0, 9.0], [0.1, 0.5, 0.9])
    assert line == ([1.0, 9.0], [0.1, 0.9])


def test_detrame_2_to_4_average_the_seeds(record: RecordMaker) -> None:
    known = [training(model, seed) for model in ("resnet8", "detrame-resnet8") for seed in (0, 1)]
    made = [measured(record, it, correct) for it, correct in zip(known, (8000, 7900, 8300, 8400), strict=True)]
    for kind, name in (("uap", "uap"), ("random-noise", "gaussian")):
        for at, it in enumerate(known):
            for size in (0.01, 0.02):
                how: dict[str, Any] = {"kind": kind, "name": name, "epsilon": size, "metric": FOOLING}
                how |= {"norm": "linf"} if kind == "uap" else {}
                made.append(measured(record, it, round(1000 * (at + 1) * size * 100), **how))
    second, third, fourth = paper_plots("detrame", made, [], known)
    assert [plot.name[-1] for plot in (second, third, fourth)] == ["2", "3", "4"]
    assert sorted(points(second.figure.axes[0])) == [([0.078042], [79.5]), ([0.131], [83.5])]
    for plot in (third, fourth):
        assert sorted(points(plot.figure.axes[0])) == [
            ([0.01, 0.02], [15.0, 30.0]),
            ([0.01, 0.02], [35.0, 70.0]),
        ]


def test_nothing_measured_draws_nothing(record: RecordMaker) -> None:
    clean = record(correct=1, total=2, kind="clean", name="clean")
    assert paper_plots("sdnet", [clean], []) == paper_plots("detrame", [clean], []) == []
    assert paper_plots("res-msd-csc", [clean], []) == paper_plots("tddl", [clean], []) == []


def test_pdf_and_svg_fit_a_column_and_need_no_font(records: list[Record], fit: FitMaker, tmp_path: Path) -> None:
    paths = write_report(records, [fit()], tmp_path / "r", title="R", paper="sdnet")
    pages = [path for path in paths.figures if path.suffix == ".pdf"]
    assert [path.name.partition("-sdnet-figure-")[2][0] for path in pages] == ["2", "3"]
    for page in pages:
        pdf = page.read_bytes()
        box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+)", pdf)
        assert box and float(box[1]) == 72 * COLUMN
        streams = [
            zlib.decompressobj().decompress(it) for it in re.findall(rb"stream\r?\n(\x78.*?)endstream", pdf, re.S)
        ]
        whole = pdf + b"".join(streams)
        assert b"/FontFile2" in whole and b"/Type3" not in whole
        assert b"CreationDate" not in whole
        svg = page.with_suffix(".svg").read_text()
        assert "<text" not in svg and f'width="{72 * COLUMN:g}pt"' in svg
    again = write_report(records, [fit()], tmp_path / "again", title="R", paper="sdnet")
    for page in pages:
        assert (again.folder / "figures" / page.name).read_bytes() == page.read_bytes()
