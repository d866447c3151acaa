"""The report as one HTML file that needs nothing else, above all no network.

Tables of up to `PAGE_ROWS` rows are plain HTML, which the page's script makes sortable and filterable. Of longer ones
the page shows the first rows and packs all of them; so are the charts' data and the charting library, plotly.js, in
the form browsers unpack themselves (gzip).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files

import jinja2
from markupsafe import Markup

from robustcsc.measurements.records import Record
from robustcsc.presentation.html_chart import html_chart
from robustcsc.presentation.html_table import html_table, packed, packed_table
from robustcsc.presentation.interactive import chart_data
from robustcsc.presentation.picture import data_address
from robustcsc.presentation.table import Coded, Table, facts
from robustcsc.presentation.words import Title, told_apart
from robustcsc.reports.cohorts.cells import told_once
from robustcsc.reports.page.compare import comparisons
from robustcsc.reports.page.examples import galleries
from robustcsc.reports.page.facts import page_facts
from robustcsc.reports.page.sections import Section

PAGE_ROWS = 40
"""Tables of more rows come in pages."""
_FIRST_ROWS = 20
"""How many rows of those are there without a script, and on paper."""
_OPEN_TABLES = 3
"""Tables of a section that stand open; further ones are folded."""
_MOST_COLUMNS = 12
"""Columns of tables whose rows become cards on a narrow screen."""
_MOST_CARDS = 16
"""Rows of tables with more columns that become cards on any screen; more rows that say how numbers were made fold."""
_WHAT = ("run", "kind", "name", "severity", "norm", "epsilon", "protocol", "policy", "policy.scope", "policy.value")
_TEST_TIME = ("test_time", "test_time.batch", "test_time.prior", "test_time.order")
_IN_SIGHT = (*_WHAT, *_TEST_TIME, "precision", "rate", "low", "high", "lambda")
"""Columns of the records that are seen at once, where they differ; a button shows all."""
_SCRIPTS = {"presentation": ("tables.js", "charts.js"), "reports.page": ("compare.js", "page.js")}


def render_page(title: str, sections: Sequence[Section], records: Sequence[Record], columns: Sequence[Coded]) -> str:
    """Returns the page as HTML text; every name in it is escaped.

    `records` are at least one, as `joined` returns them; `columns` are those of their data frame, as far as the page
    shows them.
    """
    sections = [
        replace(it, tables=[told_once(table) if _sprawls(table) else table for table in it.tables]) for it in sections
    ]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["html"] = lambda table, first_rows: Markup(html_table(table, first_rows))
    environment.filters |= {"galleries": galleries, "address": data_address, "inside": _inside}
    charted = [chart for section in sections for chart in section.charts]
    still = {chart.name: html_chart(chart) for chart in charted}
    environment.filters["still"] = lambda chart: Markup(still[chart.name])
    environment.filters |= {"json": _json, "short": _short_titles(sections)}
    environment.tests["empty"] = _is_empty
    environment.filters["stacks"] = _stacks
    columns, in_sight = _in_sight(columns)
    template = environment.from_string(_asset("reports.page", "page.html"))
    tables = [table for section in sections for table in section.tables]
    long = {table.name: packed_table(table.coded) for table in tables if len(table.rows) > PAGE_ROWS}
    charts = {chart.name: chart_data(chart) for chart in charted if not still[chart.name]}
    page = template.render(
        title=title,
        count=len(records),
        facts=page_facts(records),
        sections=sections,
        records=_first(columns),
        in_sight=in_sight,
        packed={**long, "records": packed_table(columns)},
        first_rows=_FIRST_ROWS,
        open_tables=_OPEN_TABLES,
        most_cards=_MOST_CARDS,
        charts=charts,
        comparisons=comparisons(records),
        library=packed(files("plotly").joinpath("package_data/plotly.min.js").read_bytes()) if charts else "",
        style=Markup(_asset("reports.page", "page.css")),
        scripts=[Markup(_asset(package, name)) for package, names in _SCRIPTS.items() for name in names],
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


def _in_sight(columns: Sequence[Coded]) -> tuple[list[Coded], int]:
    """Returns the columns of the records, those that are seen at once first, and how many these are."""
    known = [it for it in columns if it.column.heading in _IN_SIGHT]
    first = [it for it in known if len(it.cells) > 1] or known
    return [*first, *(it for it in columns if it not in first)], len(first)


def _sprawls(table: Table) -> bool:
    """Whether a table has too many columns to fit, and too many rows for cards."""
    return len(table.columns) > _MOST_COLUMNS and len(table.rows) > _MOST_CARDS


def _short_titles(sections: Sequence[Section]) -> Callable[[str], str]:
    """Returns what shortens titles: of the facts about images they keep what differs within the page."""
    titles = [it.title for section in sections for it in section.charts]
    titles += [it.title for section in sections for it in section.tables]
    known = {fact for title in titles if isinstance(title, Title) for fact in title.about}

    def short(title: str) -> str:
        if not isinstance(title, Title):
            return title
        told = told_apart(title.about, known)
        return f"{title.words}: {told}" if told else title.words

    return short


def _inside(section: Section) -> str:
    """Returns in words what a section holds."""
    held = {"chart": section.charts, "picture": section.pictures, "table": section.tables}
    return ", ".join(f"{len(of)} {name}{'s' * (len(of) > 1)}" for name, of in held.items() if of)


def _stacks(table: Table) -> str:
    """Returns the class of a table whose rows become cards."""
    if len(table.columns) <= _MOST_COLUMNS or _sprawls(table):
        return " cards"
    return " cards wide"


def _is_empty(table: Table) -> bool:
    """Whether all numbers of a table are zero or missing."""
    columns = [it for it, numeric in zip(table.coded, table.numeric, strict=True) if numeric]
    return bool(columns) and not any(facts(cell)[""] for it in columns for cell in it.cells)
