"""The report as one HTML file that needs nothing else, above all no network.

Tables of up to `PAGE_ROWS` rows are plain HTML, which the page's script makes sortable and filterable. Of longer ones
the page shows the first rows and packs all of them; so are the charts' data and the charting library, plotly.js, in
the form browsers unpack themselves (gzip).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

import jinja2
from markupsafe import Markup

from robustcsc.measurements.examples import ExampleSheet
from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.measurements.records import Record
from robustcsc.presentation.html_table import Coded, coded_columns, html_table, packed, packed_table
from robustcsc.presentation.interactive import chart_data
from robustcsc.presentation.picture import data_address
from robustcsc.presentation.table import Table
from robustcsc.reports.cohorts.words import perturbation_words, policy_words
from robustcsc.reports.page.sections import Section

PAGE_ROWS = 40
"""Tables of more rows come in pages."""
_FIRST_ROWS = 20
"""How many rows of those are there without a script, and on paper."""


def render_page(title: str, sections: Sequence[Section], records: Sequence[Record], columns: Sequence[Coded]) -> str:
    """Returns the page as HTML text; every name in it is escaped.

    `records` are at least one; `columns` are those of their data frame, as far as the page shows them.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["html"] = lambda table, first_rows: Markup(html_table(table, first_rows))
    environment.filters |= {"words": perturbation_words, "policy": policy_words}
    environment.filters |= {"note": sheet_note, "address": data_address}
    template = environment.from_string(_asset("reports.page", "page.html"))
    tables = [table for section in sections for table in section.tables]
    long = {table.name: packed_table(coded_columns(table)) for table in tables if len(table.rows) > PAGE_ROWS}
    charts = {chart.name: chart_data(chart) for section in sections for chart in section.charts}
    times = [record.provenance.created for record in records]
    page = template.render(
        title=title,
        count=len(records),
        first=min(times),
        last=max(times),
        sections=sections,
        records=_first(columns),
        packed={**long, "records": packed_table(columns)},
        first_rows=_FIRST_ROWS,
        charts=_json(charts),
        library=packed(files("plotly").joinpath("package_data/plotly.min.js").read_bytes()) if charts else "",
        style=Markup(_asset("reports.page", "page.css")),
        scripts=[Markup(_asset("presentation", name)) for name in ("tables.js", "charts.js")],
    )
    return page + "\n"


def _asset(package: str, name: str) -> str:
    return files(f"robustcsc.{package}").joinpath(name).read_text("utf-8")


def _json(value: object) -> Markup:
    """Returns JSON that no HTML parser takes for the end of a script."""
    return Markup(json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", r"\u003c"))


def _first(columns: Sequence[Coded]) -> Table:
    """Returns the first rows of long columns as a table."""
    cells = ([it.cells[code] for code in it.codes[:_FIRST_ROWS]] for it in columns)
    headings = tuple(it.column for it in columns)
    return Table("records", "Everything that was measured", headings, tuple(zip(*cells, strict=True)))


def sheet_note(sheet: ExampleSheet) -> str:
    """Returns a sentence that says how the images of a sheet were chosen and made."""
    images, versions = sheet.images, sheet.examples[0].versions
    parts = [f"{len(sheet.examples)} evenly spaced images of {images.dataset} {images.split}, none chosen by hand"]
    corruptions = [it.perturbation for it in versions if isinstance(it.perturbation, Corruption)]
    tables = [(it.table.words, it.seed) for it in corruptions]
    parts += [f"corrupted with {table}, seed {seed}" for table, seed in dict.fromkeys(tables)]
    tuned = any(answer.policy == TrainingLambda() for answer in versions[0].answers)
    parts += ["adversarial images are crafted at the training lambda"] if tuned else []
    return f"{'; '.join(parts)}. Percent: the model's confidence."
