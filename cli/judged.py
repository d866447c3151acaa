"""What is known of corrupted images, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from robustcsc.presentation.table import Cell, Column, Table, Worded

if TYPE_CHECKING:
    from robustcsc.corruptions.judging.candidates import Definition, Ratio
    from robustcsc.corruptions.judging.judge import Judgement, Named


def judged_table(judgements: Sequence[Judgement], tables: Sequence[str]) -> Table:
    """Returns a row for each judgement, and sentences: one for all that are what they are called, one for each other.

    Args:
        judgements: What is known of images.
        tables: The severity tables that they were compared with.
    """
    compared = [it for it in tables if any(_ratio(one, it) for one in judgements)]
    rows = tuple(
        (
            *(one.named.corruption or "", "" if one.named.severity is None else str(one.named.severity)),
            *(one.images, _followed(one), one.fits[0].match.value if one.fits else "", one.error),
            *(_ratio(one, table) for table in compared),
            "" if one.quality is None else f"quality {one.quality}",
        )
        for one in judgements
    )
    headings = ("corruption", "severity", "images", "follows", "match")
    against = (Column(f"of {it}'s") for it in compared)
    columns = (*map(Column, headings), Column("squared error", digits=1), *against, Column("JPEG"))
    table = Table(
        "judged", "Corrupted images, and what they follow", columns, rows, tuple(_sentences(judgements, tables))
    )
    return table.keep(lambda column: column.heading != "JPEG" or any(one.quality for one in judgements))


def _sentences(judgements: Sequence[Judgement], tables: Sequence[str]) -> Iterator[str]:
    for table in tables:
        kept = [one for one in judgements if _as_called(one, [table])]
        for quality in dict.fromkeys(one.quality for one in kept):
            its = [one for one in kept if one.quality == quality]
            yield f"{len(its)} of {len(judgements)} follow {table} as they are called{_saved(its[0])}."
    for one in judgements:
        also = [it for it in _definitions(one) if it not in _as_called(one, tables)]
        if not _as_called(one, tables):
            yield _sentence(one, tables)
        elif also:
            yield f"{_called(one.named)} is also {_listed(also)}: the two are one, or too few images tell them apart."


def _sentence(one: Judgement, tables: Sequence[str]) -> str:
    what = _called(one.named)
    against = " and ".join(
        f"{_with_error(it)} of that of {it.definition.table}'s" for it in one.ratios if it.definition.table in tables
    )
    error = f"its squared error is {against}" if against else f"its squared error is {one.error:.1f}"
    if one.unchanged:
        return f"{what} is the clean images: it changes none, as gaussian_blur 1 of torch-uncertainty 0.13 does."
    if one.fits:
        other = f" is not that of {' or '.join(tables)} ({error}): it" if against else ""
        return f"{what}{other} follows {_listed(_definitions(one))}, {one.fits[0].match.value}{_saved(one)}."
    return f"{what} is unknown{_saved(one)}: it follows none of {one.tried} definitions; {error}."


def _definitions(one: Judgement) -> list[Definition]:
    """Returns what images follow, first what they are called."""
    return sorted((it.definition for it in one.fits), key=lambda it: not _is_called(one, it))


def _as_called(one: Judgement, tables: Sequence[str]) -> list[Definition]:
    return [it for it in _definitions(one) if it.table in tables and _is_called(one, it)]


def _is_called(one: Judgement, definition: Definition) -> bool:
    return (definition.corruption, definition.severity) == (one.named.corruption, one.named.severity)


def _called(named: Named) -> str:
    if named.corruption is None:
        return "The folder"
    return named.corruption if named.severity is None else f"{named.corruption} {named.severity}"


def _followed(one: Judgement) -> str:
    return "clean images" if one.unchanged else _listed(_definitions(one)) or "unknown"


def _listed(definitions: Sequence[Definition]) -> str:
    return " or ".join(f"{it.table} {it.corruption} {it.severity}" for it in definitions)


def _saved(one: Judgement) -> str:
    return "" if one.quality is None else f", saved as JPEG of quality {one.quality}"


def _ratio(one: Judgement, table: str) -> Cell:
    return next((Worded(it.value, _with_error(it)) for it in one.ratios if it.definition.table == table), None)


def _with_error(ratio: Ratio) -> str:
    return f"{ratio.value:.2f}" + (f" ± {ratio.error:.2f}" if ratio.error else "")
