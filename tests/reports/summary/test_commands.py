from __future__ import annotations

import shlex
from collections.abc import Callable

from robustcsc.measurements.records import Location, Record
from robustcsc.reports.summary.provenance import command_tables

RecordMaker = Callable[..., Record]


def commands(*records: Record) -> list[tuple[object, ...]]:
    """Run, n, number of records and command of each row."""
    (table,) = command_tables(records)
    return list(table.rows)


def test_cells_of_one_sweep_are_one_command(corruption: RecordMaker) -> None:
    made = [
        corruption(name, severity, met=1, total=9, policy=policy, seed=3)
        for severity in (1, 2, 3)
        for name in ("fog", "gaussian_noise")
        for policy in ("adaptive", "train")
    ]
    ((run, n, count, command),) = commands(*made)
    assert (run, n, count) == ("sdnet", 9, 12)
    name, *words = shlex.split(str(command))[1:]
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert (name, options["--run"], options["--seed"]) == ("sweep", "sdnet", "3")
    lists = ("--corruptions", "--severities", "--lambda")
    assert [set(options[it].split(",")) for it in lists] == [
        {"fog", "gaussian_noise"},
        {"1", "2", "3"},
        {"train", "adaptive"},
    ]


def test_a_command_names_the_images_and_how_many_of_them(clean: RecordMaker) -> None:
    made = clean(met=1, run="a b", policy="train", location=Location(data="cifar10", root="/d a", limit=500))
    ((_, _, _, command),) = commands(made)
    assert command == ("robustcsc evaluate --run 'a b' --data cifar10 --root '/d a' --limit 500 --lambda train")


def test_rows_are_ordered_by_run_and_every_record_is_counted(records: list[Record]) -> None:
    rows = commands(*records)
    assert rows == commands(*records[::-1])
    assert [row[0] for row in rows] == sorted(str(row[0]) for row in rows)
    assert sum(int(str(row[2])) for row in rows) == len(records)
    assert command_tables([]) == []
