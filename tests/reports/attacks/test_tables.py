from __future__ import annotations

from collections.abc import Callable

from scipy.stats import binomtest

from robustcsc.measurements.records import Record
from robustcsc.reports.attacks.tables import attack_tables

RecordMaker = Callable[..., Record]


def wilson(correct: int, total: int) -> str:
    ends = binomtest(correct, total).proportion_ci(method="wilson")
    return f"{100 * correct / total:.2f} [{100 * ends.low:.2f}, {100 * ends.high:.2f}]"


def test_attacks_name_the_protocol_in_words(records: list[Record]) -> None:
    (table,) = attack_tables(records)
    rows = {(row[0], row[2]): row[3] for row in table.texts}
    assert [column.heading for column in table.columns[3:]] == ["PGD L∞ 8/255, 20 steps"]
    transfer = "crafted at the training lambda, scored at the fitted lambda (a transfer test)"
    assert rows["sdnet", transfer] == wilson(352, 1000)
    assert rows["sdnet", "crafted through the adaptive policy"] == wilson(5, 1000)
    assert rows["resnet", "crafted on the model that is scored"] == wilson(1, 1000)


def test_an_attack_scored_by_the_oracle_says_so(attack: RecordMaker) -> None:
    (table,) = attack_tables([attack(met=3, total=10, protocol="static", policy="oracle")])
    words = "crafted at the training lambda, scored at the best lambda by the test labels (a transfer test)"
    assert [row[2] for row in table.texts] == [words]


def test_attacks_of_other_budgets_norms_and_steps_have_their_own_columns(attack: RecordMaker) -> None:
    attacks = [("linf", 8 / 255, 20), ("linf", 8 / 255, 200), ("linf", 0.03, 20), ("l2", 0.5, 20)]
    made = [
        attack(f"pgd:steps={steps}", met=n, total=10, norm=norm, epsilon=epsilon)
        for n, (norm, epsilon, steps) in enumerate(attacks)
    ]
    (table,) = attack_tables(made)
    headings = [column.heading for column in table.columns[3:]]
    assert dict(zip(headings, (cell.split()[0] for cell in table.texts[0][3:]), strict=True)) == {
        "PGD L2 0.5, 20 steps": "30.00",
        "PGD L∞ 0.03, 20 steps": "20.00",
        "PGD L∞ 8/255, 20 steps": "0.00",
        "PGD L∞ 8/255, 200 steps": "10.00",
    }


def test_fooling_rates_are_no_accuracies(attack: RecordMaker) -> None:
    made = [attack(met=correct, total=100, metric=it) for correct, it in ((30, "accuracy"), (60, "fooling rate"))]
    (table,) = attack_tables(made)
    assert table.texts[0][3] == wilson(30, 100)


def test_suites_transfer_and_titles(attack: RecordMaker) -> None:
    made = [attack("fgsm", "pgd", met=1, total=10), attack(met=2, total=10, protocol="transfer")]
    assert attack_tables(made) == attack_tables([]) == []
    (table,) = attack_tables([attack(met=7, total=10), *made])
    assert "corruptions" not in table.title and len(table.rows) == 1
