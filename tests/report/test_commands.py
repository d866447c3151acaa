from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustcsc.records import Record
from robustcsc.report.commands import command_tables

RecordMaker = Callable[..., Record]

ATTACK: dict[str, Any] = {"kind": "attack", "norm": "linf", "epsilon": 8 / 255, "restarts": 1, "protocol": "plain"}
ATTACK |= {"policy": "train", "source": "generated"}


def commands(*records: Record) -> list[tuple[str, str]]:
    """Number of records and command of each row."""
    (table,) = command_tables(records)
    return [(row[2], row[3]) for row in table.rows]


def test_cells_of_one_sweep_are_one_command(record: RecordMaker) -> None:
    made = [
        record(correct=1, severity=severity, name=name, policy=policy, seed=3)
        for severity in (1, 2, 3)
        for name in ("fog", "gaussian_noise")
        for policy in ("adaptive", "train")
    ]
    assert commands(*made) == [
        (
            "12",
            "robustcsc sweep --run sdnet --spec cifar10_c --corruptions gaussian_noise,fog --severities 1-3 "
            "--lambda train,adaptive --seed 3",
        )
    ]


def test_published_files_need_their_folder(record: RecordMaker) -> None:
    made = record(correct=1, severity=5, source="official", policy="none")
    ((_, command),) = commands(made)
    assert command.endswith("--corruptions gaussian_noise --severities 5 --corrupted-root FOLDER")


def test_budgets_and_protocols_of_an_attack_are_one_command(record: RecordMaker) -> None:
    pgd = ATTACK | {"name": "pgd (step 0.01)", "steps": 20, "batch_size": 250}
    made = [record(correct=1, **pgd), record(correct=1, **(pgd | {"epsilon": 0.5}))]
    made.append(record(correct=1, **(pgd | {"protocol": "static", "policy": "adaptive"})))
    assert commands(*made) == [
        (
            "3",
            "robustcsc attack --run sdnet --attack pgd --norm linf --epsilon 8/255,0.5 --step-size 0.01 --steps 20 "
            "--protocols plain,static --batch-size 250",
        )
    ]


def test_attacks_in_a_row_are_one_command(record: RecordMaker) -> None:
    names = ("pgd", "pgd > apgd (loss dlr)", "pgd > apgd (loss dlr) > square")
    made = [record(correct=1, **(ATTACK | {"name": name, "steps": 7 + len(name)})) for name in names]
    assert commands(*made) == [
        (
            "3",
            "robustcsc attack --run sdnet --attack pgd,apgd,square --norm linf --epsilon 8/255 --loss dlr "
            "--protocols plain",
        )
    ]


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({"kind": "clean", "name": "clean", "policy": "train"}, "evaluate --run sdnet --lambda train"),
        ({"kind": "clean", "name": "clean", "run": "a b"}, "evaluate --run 'a b'"),
        (
            {"kind": "random-noise", "name": "gaussian", "epsilon": 0.1, "metric": "fooling rate"},
            "attack --run sdnet --random-noise --rho 0.1",
        ),
        (
            {
                "kind": "uap", "name": "uap", "norm": "l2", "epsilon": 0.5, "steps": 10, "protocol": "plain",
                "spec": "crafted on 1000 train images (fccf), delta 0.2, batches of 25",
            },
            "attack --run sdnet --uap --norm l2 --xi 0.5 --passes 10 --crafting-images 1000 --delta 0.2 "
            "--protocols plain",
        ),
    ],
)  # fmt: skip
def test_other_kinds(record: RecordMaker, fields: dict[str, Any], command: str) -> None:
    assert commands(record(correct=1, **fields)) == [("1", f"robustcsc {command}")]


def test_every_option_exists(record: RecordMaker, capsys: pytest.CaptureFixture[str]) -> None:
    from robustcsc.cli.main import main

    told = {}
    for name in ("evaluate", "sweep", "attack"):
        assert main([name, "--help"]) == 0
        told[name] = capsys.readouterr().out
    made = [
        record(correct=1, severity=5, source="official, 8 bit", seed=1),
        record(correct=1, kind="clean", name="clean", policy="train"),
        record(correct=1, **(ATTACK | {"name": "pgd (loss dlr, step 0.1)", "steps": 3, "restarts": 2, "seed": 1})),
        record(
            correct=1, **(ATTACK | {"name": "square", "steps": 9, "protocol": "transfer from a@b", "batch_size": 2})
        ),
        record(correct=1, **(ATTACK | {"name": "fab", "kind": "minimal-epsilon"})),
        record(correct=1, kind="random-noise", name="gaussian", epsilon=0.1),
        record(correct=1, kind="uap", name="uap", norm="l2", epsilon=0.5, steps=1, spec="crafted on 9 x, delta 0.2"),
    ]
    for _, command in commands(*made):
        _, name, *words = command.split()
        assert [word for word in words if word.startswith("--") and word not in told[name]] == []
