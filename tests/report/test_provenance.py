from collections.abc import Callable

from robustcsc.measurements.fits import LambdaFit
from robustcsc.records import Record
from robustcsc.report import fit_tables, provenance_table

RecordMaker = Callable[..., Record]
FitMaker = Callable[..., LambdaFit]


def test_the_overview_names_r2_of_every_definition_and_the_heldout_images(fit: FitMaker) -> None:
    overview, *_ = fit_tables([fit(), fit("shot", trained_on_heldout=True)])
    gaussian, shot = (dict(zip(overview.columns, row, strict=True)) for row in overview.rows)
    assert (gaussian["R2 squared"], gaussian["R2 norm"]) == ("1.0000", "0.9731")
    assert (gaussian["residual used"], gaussian["lambda(r)"]) == ("squared", "0 + 0.1 r")
    assert (gaussian["held-out n"], gaussian["held-out images"]) == ("500", "never trained on")
    assert shot["held-out images"] == "trained on them too"


def test_levels_show_residual_best_lambda_and_both_accuracies(fit: FitMaker) -> None:
    _, levels = fit_tables([fit()])
    second = dict(zip(levels.columns, levels.rows[1], strict=True))
    assert (second["noise"], second["level"], second["residual (squared)"]) == ("gaussian noise", "std=0.08", "5")
    assert (second["best lambda"], second["held-out n"]) == ("0.5", "500")
    assert second["accuracy at best lambda"].startswith("78.00 [")  # 390 of 500
    assert second["accuracy at training lambda"].startswith("60.00 [")  # 300 of 500
    assert any("squared 1.0000, norm 0.9731" in note for note in levels.notes)


def test_the_same_fit_twice_is_shown_once(fit: FitMaker) -> None:
    assert len(fit_tables([fit(), fit(created="2027-01-01")])) == 2
    assert fit_tables([]) == []


def test_records_are_traced_to_weights_seed_device_and_versions(records: list[Record]) -> None:
    table = provenance_table(records)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    noisy = next(row for row in rows if row["run"] == "sdnet" and row["source"] == "generated")
    assert noisy["weights"] == "5d5d5d5d5d5d"
    assert (noisy["seed"], noisy["device"], noisy["n"]) == ("0", "cpu", "10000")
    assert noisy["versions"] == "robustcsc 0.1.0, torch 2.13.0, python 3.11.7"
    assert (noisy["records"], noisy["seconds"]) == ("30", "45.0")  # six policies at five severities, 1.5 s each
    assert sum(int(row["records"]) for row in rows) == len(records)
