from __future__ import annotations

from collections.abc import Callable

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.records import BudgetDetails, Cost, Record
from robustcsc.reports.corruptions.baselines import measured_baseline
from robustcsc.reports.page.sections import Report, report_sections
from robustcsc.reports.summary.short import short_section, terminal_tables

RecordMaker = Callable[..., Record]


def test_what_one_command_measured_is_a_verdict_with_one_table(
    clean: RecordMaker, corruption: RecordMaker, attack: RecordMaker
) -> None:
    for made in ([clean(met=1)], [corruption("fog", met=1)], [attack(met=1), attack("fgsm", met=1)]):
        section = short_section(made)
        assert section.sentences and [table.name for table in section.tables] == ["verdict"]


def test_what_no_verdict_is_about_has_its_own_tables(
    clean: RecordMaker,
    corruption: RecordMaker,
    attack: RecordMaker,
    minimal: RecordMaker,
    random_noise: RecordMaker,
) -> None:
    details = BudgetDetails(levels=8, minimal=bytes([3, 255]), cost=Cost(attacked=2, forward_calls=1, gradient_calls=1))
    assert short_section([minimal(met=1, total=2, details=details)]).tables[0].title.startswith("Smallest budgets")
    assert short_section([random_noise(met=1)]).tables[0].title.startswith("Random noise")
    fixed = short_section([corruption(met=1, policy="fixed=0.5")])
    assert [table.title.partition(":")[0] for table in fixed.tables] == ["Gaussian noise"]
    oracle = short_section([clean(met=1, policy="oracle"), attack(met=1, policy="oracle", protocol="static")])
    assert [table.title.partition(":")[0] for table in oracle.tables] == ["Clean images", "Attack by attack"]


def test_a_report_in_the_terminal_has_the_errors_and_leaves_long_tables_to_the_page(corruption: RecordMaker) -> None:
    made = [corruption(name, severity, met=5) for name in STANDARD_CORRUPTIONS for severity in range(1, 6)]
    report = Report(title="t", records=made, baseline=measured_baseline("sdnet", made))
    titles = [table.title.partition(":")[0] for table in terminal_tables(report_sections(report))]
    assert titles == ["Mean over severities", "Corruption errors relative to sdnet"]
    (plain,) = terminal_tables(report_sections(Report(title="t", records=made)))
    assert plain.title.startswith("Mean over severities")  # errors alone would say the accuracies again
