"""How results are printed, and kept as files beside the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from robustcsc.cli.console import TSV, note, print_json, print_line, print_title, results_width
from robustcsc.presentation.words import one_line

if TYPE_CHECKING:
    from robustcsc.measurements.passes import Plan
    from robustcsc.presentation.table import Table
    from robustcsc.reports.page.sections import Section
    from robustcsc.runs import Run
    from robustcsc.session.measuring import Results


def print_tables(tables: Iterable[Table]) -> None:
    """Prints tables on standard output, each with its notes below it; what stood below an earlier one stands once.

    Text fits the terminal, or 120 columns where there is none. With `--tsv` it is a line ``# title`` before each table,
    an empty line after it, and ``# `` before each sentence.
    """
    from robustcsc.presentation.csv_table import tsv_text
    from robustcsc.presentation.terminal import sentence_lines, table_lines

    said: set[str] = set()
    for table in tables:
        if TSV.get():
            print_line(f"# {one_line(table.title)}\n{tsv_text(table)}")
        else:
            print_title("\n".join(sentence_lines(table.title, results_width())))
            print_line("\n".join(("", *table_lines(table, results_width()), "")))
        if notes := [it for it in table.notes if it not in said]:
            print_sentences(notes)
            print_line("")
        said.update(notes)


def print_section(section: Section) -> None:
    """Prints what a section says, then its tables."""
    print_sentences(section.sentences)
    print_line("")
    print_tables(section.tables)


def print_sentences(sentences: Iterable[str]) -> None:
    """Prints sentences on standard output; with `--tsv` ``# `` before each."""
    from robustcsc.presentation.terminal import sentence_lines

    for sentence in sentences:
        print_line(f"# {sentence}" if TSV.get() else "\n".join(sentence_lines(sentence, results_width())))


def show_plan(plan: Plan, as_json: bool) -> None:
    """Prints what would be measured."""
    from msgspec.structs import asdict

    from robustcsc.measurements.facts import to_plain
    from robustcsc.reports.summary.plans import plan_table

    if as_json:
        print_json({"missing": plan.missing, "stored": plan.stored, "passes": asdict(plan.passes), **to_plain(plan)})
    else:
        print_tables([plan_table(plan)])


def show_results(run: Run, records: Results, as_json: bool) -> None:
    """Prints the verdict on `records` (or all as JSON) and writes all records of the run to its ``results.csv``.

    Of a dry run it prints the plan, and writes nothing.
    """
    if records.plan is not None:
        show_plan(records.plan, as_json)
        return
    from robustcsc.measurements.frames import flat
    from robustcsc.reports.summary.short import short_section
    from robustcsc.session.results import keep_results

    keep_results(run)
    if as_json:
        print_json([flat(record) for record in records])
        return
    print_section(short_section(records))
    note(f"More: robustcsc report {run.name} --full. All results of run {run.name!r}: {run.results_path}")
