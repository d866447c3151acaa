from robustcsc.measurements.records import Record
from robustcsc.reports.summary.provenance import provenance_table


def test_records_are_traced_to_weights_seed_device_and_versions(records: list[Record]) -> None:
    table = provenance_table(records)
    rows = [dict(zip((column.heading for column in table.columns), row, strict=True)) for row in (*table.texts,)]
    noisy = next(row for row in rows if row["run"] == "sdnet" and row["source"] == "generated corruptions, 8 bit")
    assert (noisy["weights"], noisy["severity table"]) == ("5d5d5d5d5d5d", "cifar10_c@1a2b3c4d")
    assert noisy["n"] == "10000"
    assert table.notes[0] == (
        "In all rows: data set: cifar10; split: test; images: 0123456789abcdef; seed: 0; precision: fp32; device: cpu; "
        "versions: robustcsc 0.1.0, torch 2.13.0, python 3.11.7; "
        "first measured: 2026-01-02T03:04:05+00:00; last measured: 2026-01-02T03:04:05+00:00."
    )
    assert (noisy["records"], noisy["seconds"]) == ("30", "45.0")  # six policies at five severities, 1.5 s each
    assert sum(int(row["records"]) for row in rows) == len(records)
