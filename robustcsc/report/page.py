"""The report as one HTML file that needs nothing else: no network, no scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import jinja2
import pandas as pd
from markupsafe import Markup

from robustcsc.records import Record
from robustcsc.report.figures import Plot
from robustcsc.report.frame import records_frame
from robustcsc.report.provenance import provenance_table
from robustcsc.report.table import Table

GLOSSARY = (
    (
        "Accuracy and interval",
        "Images classified as labelled, out of n, in percent; the bracket is the 95 % Wilson interval of the counts. "
        "It says how far another draw of images would move the number, not another training run.",
    ),
    (
        "Never mixed",
        "Generated and official corruptions, severity tables, data sets, splits, seeds and sets of images have "
        "separate tables or columns; no mean spans two of them.",
    ),
    (
        "Lambda policy",
        "Training lambda: the value the model was trained with. Adaptive lambda: read off the fitted line from the "
        "residual of the images, per data set unless per batch or per image is said. Fixed lambda: the same value "
        "everywhere. Oracle lambda: the best value on the test images themselves (uses test labels), an upper bound "
        "and not a method.",
    ),
    (
        "Attack protocol",
        "Static: crafted at lambda_0, scored at the tuned lambda. This is a transfer test, as the attacker does not "
        "know the lambda in use. Adaptive: crafted through the policy that scores it. Plain: crafted at and scored "
        "with the training lambda, or on a model without lambda.",
    ),
    (
        "Weights and fit",
        "The first digits of the SHA-256 of the weights and of the lambda fit; after a refit only the newest fit of "
        "a series is shown in tables, the records keep all.",
    ),
)


@dataclass(frozen=True)
class Section:
    """A heading and its tables."""

    anchor: str
    heading: str
    tables: tuple[Table, ...]


def render_page(
    title: str, sections: Sequence[Section], plots: Sequence[tuple[Plot, str]], records: Sequence[Record]
) -> str:
    """Returns the page as HTML text; every name in it is escaped.

    Args:
        title: Heading of the page.
        sections: Tables by section; sections without tables are left out.
        plots: Figures and their SVG, which is drawn into the page as it is.
        records: What the tables were made of, at least one.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("robustcsc.report").joinpath("page.html").read_text("utf-8"))
    times = sorted(record.created for record in records)
    text = template.render(
        title=title,
        count=len(records),
        first=times[0] if times else "",
        last=times[-1] if times else "",
        sections=[section for section in sections if section.tables],
        plots=[(plot, Markup(svg)) for plot, svg in plots],  # matplotlib escapes the text it writes
        provenance=provenance_table(records),
        glossary=GLOSSARY,
        records=_records_table(records),
    )
    return text + "\n"


def _records_table(records: Sequence[Record]) -> Table:
    frame = records_frame(records, timing=True)
    rows = tuple(tuple(map(_cell, row)) for row in frame.itertuples(index=False, name=None))
    return Table("records", "Records", tuple(frame.columns), rows)


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
