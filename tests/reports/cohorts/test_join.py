from collections.abc import Callable
from pathlib import Path

from robustcsc.measurements.records import Record
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.corruptions.tables import mean_tables
from robustcsc.reports.page.build import write_report
from robustcsc.reports.page.frames import accuracy_columns
from robustcsc.reports.page.sections import Report

RecordMaker = Callable[..., Record]


def official(corruption: RecordMaker, correct: int, severity: int, version: str = "", **how: object) -> Record:
    files = f"file{severity}{version}"
    return corruption(severity=severity, met=correct, total=100, source="official", files=files, **how)


def test_published_files_meet_by_their_clean_images(corruption: RecordMaker) -> None:
    made = [official(corruption, 80, 1), official(corruption, 60, 2)]
    (table,) = mean_tables(joined(made))
    assert table.texts[0][2].startswith("70.00 [")
    assert "(0123456789abcdef)" in table.title


def test_two_versions_of_a_published_file_never_meet(corruption: RecordMaker) -> None:
    made = [official(corruption, 80, 1), official(corruption, 60, 2)]
    made.append(official(corruption, 10, 2, "other", run="second"))
    shares = [row[2] for table in mean_tables(joined(made)) for row in table.texts]
    assert sorted(share[:5] for share in shares) == ["10.00", "60.00", "80.00"]


def test_copies_of_a_data_set_in_folders_of_other_names_meet(corruption: RecordMaker) -> None:
    made = [corruption(severity=1, met=80, total=100, dataset="b", run="one")]
    made.append(corruption(severity=1, met=60, total=100, dataset="a copy", run="two"))
    (table,) = mean_tables(joined(made))
    assert [row[2][:5] for row in table.texts] == ["80.00", "60.00"]
    assert table.title.startswith("Mean over severities: a copy test")


def test_joining_twice_is_joining_once_and_other_records_stay(corruption: RecordMaker, records: list[Record]) -> None:
    made = [official(corruption, 80, 1), corruption("fog", met=8)]
    assert joined(joined(made)) == joined(made)
    assert joined(records) == records


def test_a_report_averages_published_files(corruption: RecordMaker, tmp_path: Path) -> None:
    made = [official(corruption, correct, severity) for severity, correct in enumerate((90, 80, 70, 60, 50), start=1)]
    paths = write_report(Report(title="t", records=made), tmp_path / "r")
    assert (
        "70.00 [" in next(it for it in paths.tables if it.name.startswith("means") and it.suffix == ".md").read_text()
    )
    assert accuracy_columns(joined(made))["mean"] == [0.7]
    assert paths.accuracy.read_text().count("\n") == 2
    assert "file1" in paths.records.read_text()
