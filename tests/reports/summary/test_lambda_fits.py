from collections.abc import Callable

import pytest

from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.presentation.chart import Chart, Panel
from robustcsc.presentation.table import Table
from robustcsc.reports.summary.lambda_fits import fit_curve_charts, fit_tables, line_words, residual_charts

FitMaker = Callable[..., LambdaFit]


def by_heading(table: Table, row: int) -> dict[str, str]:
    return dict(zip((column.heading for column in table.columns), table.texts[row], strict=True))


def panels(chart: Chart) -> list[Panel]:
    return [panel for panel in chart.panels if isinstance(panel, Panel)]


def test_the_overview_names_r2_of_every_definition_and_the_heldout_images(fit: FitMaker) -> None:
    overview, *_ = fit_tables([fit(), fit("shot", trained_on_heldout=True)])
    gaussian, shot = (by_heading(overview, row) for row in (0, 1))
    assert (gaussian["R2 squared"], gaussian["R2 norm"]) == ("1.0000", "0.9731")
    assert (gaussian["residual used"], gaussian["lambda(r)"]) == ("squared", "0 + 0.1 r")
    assert (gaussian["training lambda"], gaussian["grid"]) == ("0.1", "0.1 to 0.9, 3 values")
    assert (gaussian["held-out n"], gaussian["held-out images"]) == ("500", "never trained on")
    assert shot["held-out images"] == "trained on them too"


def test_levels_show_residual_best_lambda_and_both_accuracies(fit: FitMaker) -> None:
    _, levels = fit_tables([fit()])
    second = by_heading(levels, 1)
    assert (second["noise"], second["level"], second["residual (squared)"]) == ("gaussian noise", "std=0.08", "5")
    assert (second["best lambda"], second["held-out n"]) == ("0.5", "500")
    assert second["accuracy at best lambda"].startswith("78.00 [")  # 390 of 500
    assert second["accuracy at training lambda"].startswith("60.00 [")  # 300 of 500
    assert any("squared 1.0000, norm 0.9731" in note for note in levels.notes)


def test_a_training_lambda_beside_the_grid_has_no_accuracy(fit: FitMaker) -> None:
    _, levels = fit_tables([fit(lam0=0.3)])
    assert by_heading(levels, 1)["accuracy at training lambda"] == "–"  # noqa: RUF001


def test_the_note_counts_the_lines_that_were_compared(fit: FitMaker) -> None:
    kinds = [f"{definition}/{to}" for definition in ("squared", "norm", "relative") for to in ("levels", "images")]
    candidates = dict(zip(kinds, (0.5, 0.6, 0.7, 0.1, 0.2, 0.3), strict=True))
    _, levels = fit_tables([fit(image_candidates=candidates)])
    (note,) = [note for note in levels.notes if "compared" in note]
    assert "of the 6 lines compared on held-out images the best is taken" in note
    assert note.endswith("norm/levels 70.00, squared/images 60.00, squared/levels 50.00.")


def test_the_same_fit_twice_is_shown_once(fit: FitMaker) -> None:
    assert len(fit_tables([fit(), fit(created="2027-01-01")])) == 2
    assert fit_tables([]) == []


def test_a_line_in_words(fit: FitMaker) -> None:
    assert line_words(fit()) == "gaussian: lambda = 0 + 0.1 x residual (R2 1.000)"
    falling = fit(lines={"squared": Line(slope=-0.25, intercept=1.5, r2=0.5)})
    assert line_words(falling) == "gaussian: lambda = 1.5 - 0.25 x residual (R2 0.500)"


def test_the_residual_chart_has_points_line_and_r2(fit: FitMaker) -> None:
    (chart,) = residual_charts([fit(), fit("shot")])
    panel, _ = panels(chart)
    points, line = panel.lines
    assert list(zip(points.x, points.y, strict=True)) == [(1.0, 0.1), (5.0, 0.5), (9.0, 0.9)]
    assert (line.series, line.x) == (None, (1.0, 9.0))
    assert line.y == pytest.approx((0.1, 0.9))  # lambda = 0 + 0.1 r from r = 1 to r = 9
    assert "R² = 1.000" in panel.title
    assert [series.label for series in chart.legend] == ["gaussian noise", "shot noise"]


def test_fit_curves_have_a_line_per_level(fit: FitMaker) -> None:
    (chart,) = fit_curve_charts([fit()])
    (panel,) = panels(chart)
    assert [line.y for line in panel.lines] == [
        pytest.approx(heights) for heights in ((90, 88, 80), (60, 78, 70), (30, 50, 62))
    ]
    assert [line.marked for line in panel.lines] == [(0,), (1,), (2,)]
    assert residual_charts([]) == fit_curve_charts([]) == []
