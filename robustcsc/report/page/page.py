"""The report as one HTML file that needs nothing else, above all no network.

Tables of up to `PAGE_ROWS` rows are plain HTML, which the page's script makes sortable and filterable. Of longer ones
the page shows the first rows and packs all of them; so are the charts' data and the charting library, plotly.js, in
the form browsers unpack themselves (gzip).
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from robustcsc.report.charts import chart
from robustcsc.report.examples import ExampleSheet
from robustcsc.report.figures import Plot
from robustcsc.report.frame import Coded, cell_text
from robustcsc.report.glossary import GLOSSARY
from robustcsc.report.pictures import Picture
from robustcsc.report.sections import Section
from robustcsc.report.table import Table

PAGE_ROWS = 40
"""Tables of more rows come in pages."""
_FIRST_ROWS = 20
"""How many rows of those are there without a script, and on paper."""


def render_page(
    title: str,
    sections: Sequence[Section],
    made: Section,
    plots: Mapping[str, Sequence[Plot]],
    records: pd.DataFrame,
    columns: Mapping[str, Coded],
    *,
    pictures: Sequence[Picture] = (),
    examples: Sequence[ExampleSheet] = (),
) -> str:
    """Returns the page as HTML text; every name in it is escaped.

    Args:
        title: Heading of the page.
        sections: Tables by section.
        made: How the numbers were made.
        plots: Figures by the anchor of their section.
        records: `records_frame` with its timing columns: everything that was measured, at least one row.
        columns: `coded_columns` of it.
        pictures: Universal perturbations.
        examples: Images with predictions.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_asset("page.html"))
    tables = [table for section in (*sections, made) for table in section.tables]
    long = {table.name: _pack(table) for table in tables if len(table.rows) > PAGE_ROWS}
    charts = {plot.name: chart(plot) for shown in plots.values() for plot in shown}
    return (
        template.render(
            title=title,
            count=len(records),
            first=records["created"].min(),
            last=records["created"].max(),
            sections=sections,
            made=made,
            plots=plots,
            pictures=pictures,
            examples=examples,
            glossary=GLOSSARY,
            records=_records_table(records),
            packed={**long, "records": _pack_frame(records, columns)},
            first_rows=_FIRST_ROWS,
            charts=_json(charts),
            library=_packed(_plotly()) if charts else "",
            style=Markup(_asset("page.css")),
            scripts=[Markup(_asset(name)) for name in ("tables.js", "charts.js")],
        )
        + "\n"
    )


def _asset(name: str) -> str:
    return files("robustcsc.report").joinpath(name).read_text("utf-8")


def _plotly() -> bytes:
    """Returns the script of plotly.js, with its licence at the head."""
    return files("plotly").joinpath("package_data/plotly.min.js").read_bytes()


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def _json(value: object) -> Markup:
    """Returns JSON that no HTML parser takes for the end of a script."""
    return Markup(json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", r"\u003c"))


def _records_table(records: pd.DataFrame) -> Table:
    """Returns the first records as a table; the rest is packed."""
    first = records.head(_FIRST_ROWS)
    columns = [[cell_text(value) for value in first[name]] for name in first.columns]
    return Table("records", "Everything that was measured", tuple(first.columns), tuple(zip(*columns, strict=True)))


def _pack_frame(frame: pd.DataFrame, columns: Mapping[str, Coded]) -> str:
    numeric = [bool(pd.api.types.is_numeric_dtype(frame[name])) for name in columns]
    return _packed(_table_data(list(columns), numeric, list(columns.values())))


def _pack(table: Table) -> str:
    columns: list[Coded] = []
    for cells in zip(*table.rows, strict=True):
        codes, values = pd.factorize(np.array(cells, dtype=object))
        columns.append((list(values), codes))
    return _packed(_table_data(table.columns, table.numeric, columns))


def _table_data(headings: Sequence[str], numeric: Sequence[bool], columns: Sequence[Coded]) -> bytes:
    shown = [
        {
            "heading": heading,
            "numeric": right,
            "values": values,
            "bytes": (size := 1 if len(values) <= 2**8 else 2 if len(values) <= 2**16 else 4),
            "codes": base64.b64encode(np.asarray(codes, dtype=f"<u{size}").tobytes()).decode(),
        }
        for heading, right, (values, codes) in zip(headings, numeric, columns, strict=True)
    ]
    return json.dumps(shown, separators=(",", ":")).encode()
