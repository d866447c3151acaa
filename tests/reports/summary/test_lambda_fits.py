from collections.abc import Callable

import pytest
from msgspec.structs import replace

from robustcsc.measurements.estimators import Harm, Posterior
from robustcsc.measurements.fits import LambdaFit, Line
from robustcsc.presentation.chart import Chart, Panel
from robustcsc.presentation.table import Table
from robustcsc.presentation.terminal import table_lines
from robustcsc.reports.summary.lambda_fits import fit_curve_charts, fit_tables, residual_charts

FitMaker = Callable[..., LambdaFit]


def by_heading(table: Table, row: int) -> dict[str, str]:
    return dict(zip((column.heading for column in table.columns), table.texts[row], strict=True))


def panels(chart: Chart) -> list[Panel]:
    return [panel for panel in chart.panels if isinstance(panel, Panel)]


def test_the_lines_stand_with_r2_of_every_definition_and_the_heldout_images(fit: FitMaker) -> None:
    falling = {"squared": Line(slope=-0.25, intercept=1.5, r2=0.5)}
    lines, _ = fit_tables([fit(), fit("shot", lines=falling)])
    assert lines.texts[0] == ("gaussian", "0 + 0.1 r", "1.0000", "0.9731", fit().digest)
    assert lines.texts[1][:4] == ("shot", "1.5 - 0.25 r", "0.5000", "–")  # noqa: RUF001
    assert [column.heading for column in lines.columns] == ["noise", "lambda", "R2", "R2 norm", "fit"]
    assert "r: the mean over layers and images of ||x - A z||^2 at the training lambda 0.1." in lines.notes
    assert "R2: of this line, and of lines in ||x - A z|| (norm)." in lines.notes
    assert any(
        "500 held-out training images (never trained on), noisy ones as floats; 3 lambdas from 0.1 to 0.9" in it
        for it in lines.notes
    )


def test_a_lambda_that_is_best_at_every_level_is_no_line(fit: FitMaker) -> None:
    flat = fit(levels=tuple(replace(level, best_lam=0.5) for level in fit().levels))
    assert fit_tables([flat])[0].texts[0][:2] == ("gaussian", "0.5, best at every level")


def test_levels_show_residual_best_lambda_and_both_accuracies(fit: FitMaker) -> None:
    _, levels = fit_tables([fit()])
    second = by_heading(levels, 1)
    assert (second["noise"], second["level"], second["r"], second["best lambda"]) == (
        "gaussian",
        "std=0.08",
        "5",
        "0.5",
    )
    assert second["accuracy at best lambda"] == "78.0 [74.2, 81.4]"  # 390 of 500, by Wilson's interval
    assert second["at training lambda 0.1"] == "60.0 [55.6, 64.2]"  # 300 of 500


def test_a_blind_fit_says_what_it_costs_on_images_without_noise(fit: FitMaker) -> None:
    harm = (
        Harm(name="clean", severity=0, training=400, blind=400, total=500),
        Harm(name="fog", severity=3, training=300, blind=295, total=500),
    )
    made = Posterior(
        features=("mean",),
        weights=((1.0,),),
        intercepts=(0.0,),
        accuracies=((0.5, 0.5, 0.5),),
        trained=(0.5,),
        temperature=0.002,
        least_gain=0.002,
        accuracy=0.75,
        harm=harm,
    )
    *_, table = fit_tables([fit("blind", estimator=made)])
    assert by_heading(table, 0) == {
        "images": "clean",
        "severity": "–",  # noqa: RUF001
        "at training lambda 0.1": "80.0 [76.3, 83.3]",
        "at the estimated lambda": "80.0 [76.3, 83.3]",
        "difference": "+0.00",
    }
    assert by_heading(table, 1)["difference"] == "-1.00"
    assert "gain less than 0.2 points" in table.notes[1]
    assert "75.0 % are right" in table.notes[2]


def test_fits_per_layer_have_a_table_of_the_lambdas_of_each(fit: FitMaker) -> None:
    levels = tuple(replace(level, layer_lams=(0.5, 0.1), layer_correct=400) for level in fit().levels)
    line = fit().lines["squared"]
    tables = fit_tables([fit(), fit("shot", levels=levels, layer_lines=(line, line))])
    assert [table.name.rsplit("-", 1)[0][:13] for table in tables].count("lambda-layers") == 1
    (layers,) = (table for table in tables if table.name.startswith("lambda-layers"))
    assert layers.texts[1][2:] == ("0.5 0.1", "80.0 [76.3, 83.3]", "78.0 [74.2, 81.4]")  # 400 and 390 of 500


def test_a_training_lambda_beside_the_grid_has_no_accuracy(fit: FitMaker) -> None:
    _, levels = fit_tables([fit(lam0=0.3)])
    assert by_heading(levels, 1)["at training lambda 0.3"] == "–"  # noqa: RUF001


def test_noises_share_one_table_and_levels_of_a_pooled_fit_stand_once(fit: FitMaker) -> None:
    gaussian, shot = fit(), fit("shot")
    pooled = fit("pooled", levels=shot.levels + gaussian.levels)
    lines, levels = fit_tables([pooled, shot, gaussian])
    assert lines.cells(0) == ["gaussian", "shot", "pooled"]
    assert levels.cells(0) == ["gaussian"] * 3 + ["shot"] * 3


def test_fits_that_were_made_otherwise_have_tables_of_their_own(fit: FitMaker) -> None:
    others = [fit("shot", seed=1), fit("shot", trained_on_heldout=True), fit("shot", weights="0" * 64)]
    tables = fit_tables([fit(), *others])
    assert len({table.name for table in tables}) == len(tables) == 8
    assert sum("trained on them too" in note for table in tables for note in table.notes) == 1


@pytest.mark.parametrize("noises", [("gaussian",), ("gaussian", "shot", "speckle", "impulse")])
def test_both_tables_are_rows_at_80_columns(fit: FitMaker, noises: tuple[str, ...]) -> None:
    for table in fit_tables([fit(noise) for noise in noises]):
        lines = table_lines(table, 80)
        assert all(len(line) <= 80 for line in lines)
        assert len(lines) <= len(table.rows) + 5  # constants told above, headings of two lines, a rule


def test_the_note_names_the_best_line_for_single_images(fit: FitMaker) -> None:
    kinds = [f"{definition}/{to}" for definition in ("squared", "norm", "relative") for to in ("levels", "images")]
    candidates = dict(zip(kinds, (0.5, 0.6, 0.7, 0.1, 0.2, 0.3), strict=True))
    lines, _ = fit_tables([fit(image_candidates=candidates)])
    assert lines.notes[-1].endswith("images: gaussian, in ||x - A z|| through noise levels (70.0 % right).")


def test_the_same_fit_twice_is_shown_once(fit: FitMaker) -> None:
    lines, _ = fit_tables([fit(), fit(created="2027-01-01")])
    assert len(lines.rows) == 1
    assert fit_tables([]) == []


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
