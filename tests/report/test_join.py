from collections.abc import Callable

import pytest

from robustcsc.records import Record
from robustcsc.report import accuracy_frame, joined, mean_tables, write_report

RecordMaker = Callable[..., Record]


def official(record: RecordMaker, correct: int, severity: int, version: str = "", **condition: object) -> Record:
    images = f"file{severity}{version}/clean"
    return record(correct=correct, total=100, severity=severity, source="official", images=images, **condition)


def test_published_files_meet_by_their_clean_images(record: RecordMaker) -> None:
    made = [official(record, 80, 1), official(record, 60, 2)]
    (table,) = mean_tables(joined(made))
    assert table.rows[0][2].startswith("70.00 [")
    assert "(clean)" in table.title


def test_two_versions_of_a_published_file_never_meet(record: RecordMaker) -> None:
    made = [official(record, 80, 1), official(record, 60, 2), official(record, 10, 2, "other", run="second")]
    shares = [row[2] for table in mean_tables(joined(made)) for row in table.rows]
    assert sorted(share[:5] for share in shares) == ["10.00", "60.00", "80.00"]


def test_joining_twice_is_joining_once_and_other_records_stay(record: RecordMaker, records: list[Record]) -> None:
    made = [
        official(record, 80, 1),
        record(correct=8, severity=1, name="fog"),
    ]
    assert joined(joined(made)) == joined(made)
    assert joined(records) == records


def test_a_report_averages_published_files(record: RecordMaker, tmp_path_factory: pytest.TempPathFactory) -> None:
    made = [official(record, correct, severity) for severity, correct in enumerate((90, 80, 70, 60, 50), start=1)]
    paths = write_report(made, [], tmp_path_factory.mktemp("runs") / "r", title="t")
    assert "70.00 [" in next(path for path in paths.tables if path.name.startswith("means")).read_text()
    assert accuracy_frame(joined(made))["mean"].tolist() == [0.7]
    assert paths.accuracy.read_text().count("\n") == 2
    assert "file1/clean" in paths.records.read_text()
