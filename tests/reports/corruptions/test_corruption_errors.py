from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustcsc.errors import StoreError
from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.measurements.records import Record
from robustcsc.presentation.csv_table import csv_text
from robustcsc.presentation.html_table import html_table
from robustcsc.presentation.latex import latex_table
from robustcsc.presentation.markdown import markdown_table
from robustcsc.presentation.table import Table
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.corruptions.baselines import PUBLISHED_ALEXNET, Baseline, measured_baseline
from robustcsc.reports.corruptions.corruption_errors import corruption_error_tables
from robustcsc.reports.page.build import write_report
from robustcsc.reports.page.sections import Report

RecordMaker = Callable[..., Record]
Counts = Mapping[str, Sequence[int]]

# Wrong images out of 1000 at severities 1 to 5. By hand, with clean errors of 0.1 on both sides:
# CE is 1.5 / 3.0 = 50 % for 14 corruptions and 2.0 / 1.25 = 160 % for fog, mCE (14 x 50 + 160) / 15 = 57.3 %;
# relative CE is 1.0 / 2.5 = 40 % and 1.5 / 0.75 = 200 %, their mean (14 x 40 + 200) / 15 = 50.7 %.
MODEL: Counts = {**dict.fromkeys(STANDARD_CORRUPTIONS, (100, 200, 300, 400, 500)), "fog": (400,) * 5}
BASE: Counts = {**dict.fromkeys(STANDARD_CORRUPTIONS, (1000, 800, 600, 400, 200)), "fog": (250,) * 5}

# Accuracies of torchvision's ResNet-50 at severities 1 to 5 on 5,000 images of ImageNet-C, in percent, as RobustBench
# publishes them (RobustBench/robustbench, model_info/imagenet/corruptions/unaggregated_results_2d.csv). With AlexNet's
# errors their mCE is 76.6; on all 50,000 images the benchmark's authors publish 76.7.
RESNET50: Mapping[str, Sequence[float]] = {
    "gaussian_noise": (59.78, 46.86, 27.48, 11.28, 2.18),
    "shot_noise": (57.44, 42.94, 25.28, 7.92, 2.90),
    "impulse_noise": (48.44, 35.80, 25.46, 8.30, 1.82),
    "defocus_blur": (59.56, 51.52, 38.20, 27.48, 18.30),
    "glass_blur": (54.00, 40.12, 16.88, 13.10, 10.24),
    "motion_blur": (63.82, 53.70, 37.58, 21.54, 14.82),
    "zoom_blur": (52.90, 43.24, 35.80, 28.78, 22.06),
    "snow": (54.98, 31.54, 35.18, 23.82, 16.54),
    "frost": (61.50, 43.46, 30.90, 28.96, 22.94),
    "fog": (61.38, 56.12, 47.04, 40.88, 24.10),
    "brightness": (73.92, 72.44, 69.56, 64.98, 58.66),
    "contrast": (64.94, 58.52, 46.90, 21.22, 5.46),
    "elastic_transform": (67.04, 45.56, 55.26, 41.96, 17.46),
    "pixelate": (64.02, 64.26, 45.98, 28.98, 20.68),
    "jpeg_compression": (66.64, 62.44, 59.82, 47.28, 31.44),
}


@pytest.fixture
def run(clean: RecordMaker, corruption: RecordMaker) -> Callable[..., list[Record]]:
    """Makes the records of one run: wrong images by corruption and severity, and on clean images."""

    def make(
        name: str,
        wrong: Counts,
        errors: int | None = 100,
        total: int = 1000,
        source: str = "generated",
        pixels: str = "8 bit",
        table: str = "cifar10_c@1a2b3c4d",
        seed: int = 0,
        **how: Any,
    ) -> list[Record]:
        fields = {"run": name, "model": "resnet18", "total": total, "images": "clean", **how}
        made = [
            corruption(
                corrupted,
                severity,
                met=total - count,
                source=source,
                pixels=pixels,
                table=table,
                seed=seed,
                files=f"{corrupted}{severity}" if source == "official" else "",
                **fields,
            )
            for corrupted, counts in wrong.items()
            for severity, count in enumerate(counts, start=1)
        ]
        return made if errors is None else [*made, clean(met=total - errors, **fields)]

    return make


Run = Callable[..., list[Record]]


def headings(table: Table) -> tuple[str, ...]:
    return tuple(column.heading for column in table.columns)


def row(table: Table, run: str, **more: str) -> dict[str, str]:
    """Returns the one row of a run (and, say, of a measure) by heading, as text."""
    rows = [dict(zip(headings(table), cells, strict=True)) for cells in table.texts]
    (found,) = [it for it in rows if it["run"] == run and all(it[key] == value for key, value in more.items())]
    return found


def error_tables(records: list[Record], baseline: Baseline) -> list[Table]:
    return corruption_error_tables(joined(records), baseline)


def ratios_of(records: list[Record], baseline: Baseline) -> Table:
    return error_tables(records, baseline)[0]


def mces(ratios: Table, run: str) -> tuple[str, str]:
    """mCE and relative mCE."""
    plain, relative = (row(ratios, run, measure=measure)["mean of 15"] for measure in ("CE", "relative CE"))
    return plain, relative


def test_mce_and_relative_mce_by_hand(run: Run) -> None:
    base = run("b", BASE)
    ratios = ratios_of(run("a", MODEL) + base, measured_baseline("b", base))
    plain, relative = (row(ratios, "a", measure=measure) for measure in ("CE", "relative CE"))
    assert (plain["snow"], plain["fog"], plain["mean of 15"]) == ("50.0", "160.0", "57.3")
    assert (relative["snow"], relative["fog"], relative["mean of 15"]) == ("40.0", "200.0", "50.7")
    assert {cells[1] for cells in ratios.rows} == {"a"}
    alone = ratios_of(base, measured_baseline("b", base))
    assert {cell for cells in alone.texts for cell in cells[4:]} == {"100.0"}
    assert "Baseline: run b (resnet18, no lambda)." in ratios.notes


def test_every_form_of_a_table_holds_the_same_numbers(run: Run) -> None:
    base = run("b", BASE)
    ratios = ratios_of(run("a", MODEL) + base, measured_baseline("b", base))
    expected = ["50.0", "50.0", "50.0", "57.3"]
    for separator, text in (("|", markdown_table(ratios)), ("&", latex_table(ratios))):
        lines = [[cell.strip(" \\") for cell in line.strip(" |").split(separator)] for line in text.splitlines()]
        assert expected in [line[-4:] for line in lines if line[1:2] == ["a"]]
    assert all(f">{number}</td>" in html_table(ratios) for number in expected)
    plain, _ = [it for it in csv.DictReader(io.StringIO(csv_text(ratios))) if it["run"] == "a"]
    assert float(plain["mean of 15 (%)"]) == pytest.approx(860 / 15, abs=1e-9)  # (14 x 50 + 160) / 15


def test_the_published_resnet50_row_comes_out(run: Run) -> None:
    wrong = {name: [round(50 * (100 - it)) for it in row] for name, row in RESNET50.items()}
    made = run("r", wrong, None, 5000, table="imagenet_c@99999999", source="official")
    ratios, published = error_tables(made, PUBLISHED_ALEXNET)
    errors = row(ratios, "r", measure="CE")
    assert errors["mean of 15"] == "76.6"
    assert errors["gaussian noise"] == "79.6"  # 352.42 / (5 x 88.6)
    assert errors["jpeg compression"] == "76.6"  # 232.38 / (5 x 60.7)
    assert published.texts[0][:3] == ("AlexNet", "43.5", "88.6")
    assert published.texts[0][-1] == "78.9"  # 1183.7 / 15
    assert "as published and not measured here" in published.title


def test_generated_corruptions_beside_published_errors_are_pointed_out(run: Run) -> None:
    def notes(source: str, pixels: str) -> str:
        made = run("r", MODEL, table="imagenet_c@99999999", source=source, pixels=pixels)
        return " ".join(ratios_of(made, PUBLISHED_ALEXNET).notes)

    assert "These corruptions were generated, stored as published" in notes("generated", "JPEG quality 85")
    assert "These corruptions were generated" not in notes("official", "8 bit")
    for pixels in ("8 bit", "float"):
        with pytest.raises(StoreError, match="on images that were saved as JPEG of quality 85, which these were not"):
            notes("generated", pixels)


def test_published_errors_leave_out_floats_beside_images_as_published(run: Run) -> None:
    both = [
        *run("r", MODEL, table="imagenet_c@99999999", pixels="JPEG quality 85"),
        *run("r", MODEL, table="imagenet_c@99999999", pixels="float"),
    ]
    ratios, _ = error_tables(both, PUBLISHED_ALEXNET)
    assert "generated corruptions, JPEG quality 85" in ratios.title


def test_what_is_missing_is_named_and_no_mean_over_the_fifteen_is_given(run: Run) -> None:
    base = run("b", BASE)
    part = {**MODEL, "snow": MODEL["snow"][:3]}
    del part["frost"]
    ratios = ratios_of(run("a", part) + base, measured_baseline("b", base))
    assert "No mean over all 15 for resnet18, a, no lambda; missing: snow (severity 4, 5), frost." in ratios.notes
    plain = row(ratios, "a", measure="CE")
    assert plain["fog"] == "160.0"
    assert not {"snow", "frost", "mean of 15"} & set(headings(ratios))


def test_a_baseline_that_lacks_a_corruption_gives_no_mce(run: Run) -> None:
    base = run("b", {name: counts for name, counts in BASE.items() if name != "fog"})
    ratios = ratios_of(run("a", MODEL) + base, measured_baseline("b", base))
    assert not {"fog", "mean of 15"} & set(headings(ratios))  # nobody has them
    assert "No mean over all 15 for resnet18, b, no lambda; missing: fog." in ratios.notes


def test_without_clean_errors_there_is_no_relative_mce(run: Run) -> None:
    base = run("b", BASE)
    ratios = ratios_of(run("a", MODEL, errors=None) + base, measured_baseline("b", base))
    assert mces(ratios, "a") == ("57.3", "–")  # noqa: RUF001
    assert any(note.startswith("Relative errors need the clean error") and "a, no" in note for note in ratios.notes)


def test_a_corruption_that_helps_the_baseline_has_no_relative_error(run: Run) -> None:
    base = run("b", {**BASE, "fog": (100,) * 5})
    ratios = ratios_of(run("a", MODEL) + base, measured_baseline("b", base))
    # CE of fog is 2.0 / 0.5 = 400 %, mCE (14 x 50 + 400) / 15
    assert mces(ratios, "a") == ("73.3", "–")  # noqa: RUF001
    assert any(note.startswith("No relative CE under fog") for note in ratios.notes)
    perfect = run("p", {**BASE, "fog": (0,) * 5})
    ratios = ratios_of(run("a", MODEL) + perfect, measured_baseline("p", perfect))
    assert "mean of 15" not in headings(ratios)
    assert any(note.startswith("No CE under fog") for note in ratios.notes)


def test_generated_and_official_corruptions_never_meet(run: Run) -> None:
    half = len(STANDARD_CORRUPTIONS) // 2
    first = {name: MODEL[name] for name in STANDARD_CORRUPTIONS[:half]}
    second = {name: MODEL[name] for name in STANDARD_CORRUPTIONS[half:]}
    base = run("b", BASE) + run("b", BASE, source="official", errors=None)
    made = run("a", first) + run("a", second, source="official", errors=None) + base
    tables = error_tables(made, measured_baseline("b", base))
    assert len(tables) == 2
    assert not any("mean of 15" in headings(table) for table in tables)


def test_fixed_lambdas_have_no_row_beside_other_policies(run: Run) -> None:
    made = run("a", MODEL, policy="train") + run("a", MODEL, policy="fixed=0.5")
    (table,) = error_tables(made, measured_baseline("a", made))
    assert {cells[2] for cells in table.rows} == {"training lambda"}
    assert any("Fixed lambdas" in note for note in table.notes)


DIFFERENT: dict[str, tuple[dict[str, object], str]] = {
    "severity table": ({"table": "imagenet_c@99999999"}, "severity table imagenet_c@99999999 against cifar10_c@1a2b3c"),
    "source": ({"source": "official"}, "images official corrupted files against generated corruptions, 8 bit"),
    "data set": ({"dataset": "cifar100", "images": "fedc"}, "data set cifar100 against cifar10; images fedc against"),
    "images": ({"images": "fedc"}, "images fedc against clean"),
    "seed": ({"seed": 7}, "seed 7 against 0"),
}


@pytest.mark.parametrize(("change", "said"), DIFFERENT.values(), ids=DIFFERENT)
def test_a_baseline_of_other_measurements_is_refused(run: Run, change: dict[str, object], said: str) -> None:
    base = run("b", BASE, **change)
    with pytest.raises(StoreError, match="'b' was not measured on what the report shows") as caught:
        error_tables(run("a", MODEL) + base, measured_baseline("b", base))
    assert said in str(caught.value)


def test_the_name_of_a_data_set_is_a_label(run: Run) -> None:
    base = run("b", BASE, dataset="a copy")
    ratios = ratios_of(run("a", MODEL) + base, measured_baseline("b", base))
    assert mces(ratios, "a") == ("57.3", "50.7")


def test_images_that_the_baseline_was_not_measured_on_have_no_ratios(run: Run) -> None:
    base = run("b", BASE)
    made = run("a", MODEL) + run("a", MODEL, dataset="cifar100", images="fedc") + base
    tables = error_tables(made, measured_baseline("b", base))
    assert ["cifar100" in table.title for table in tables] == [False]


def test_a_baseline_without_a_whole_corruption_is_refused(run: Run) -> None:
    base = run("b", {name: counts[:3] for name, counts in BASE.items()})
    with pytest.raises(StoreError, match=r"no corruption at all of the severities 1-5.*robustcsc sweep --run b"):
        error_tables(run("a", MODEL) + base, measured_baseline("b", base))


def test_a_baseline_without_corrupted_images_or_plain_policy_is_refused(run: Run) -> None:
    with pytest.raises(StoreError, match=r"no results on corrupted images.*robustcsc sweep --run b"):
        measured_baseline("b", run("b", {}))
    with pytest.raises(StoreError, match=r"chosen lambdas only.*--lambda train"):
        measured_baseline("b", run("b", BASE, policy="adaptive"))
    with pytest.raises(StoreError, match="holds several models"):
        measured_baseline("b", run("b", BASE) + run("b", BASE, weights="00" * 32))
    both = run("b", BASE, policy="train") + run("b", MODEL, policy="adaptive")
    variant = measured_baseline("b", both).variant
    assert variant is not None
    assert variant.policy == TrainingLambda()


def test_alexnet_is_refused_for_other_tables_and_without_corruptions(run: Run) -> None:
    with pytest.raises(StoreError, match="for the severity table imagenet_c, not cifar10_c"):
        error_tables(run("a", MODEL), PUBLISHED_ALEXNET)
    with pytest.raises(StoreError, match="nothing to relate to the baseline"):
        error_tables(run("a", {}), PUBLISHED_ALEXNET)


def test_a_refused_baseline_leaves_no_report(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        write_report(Report(title="t", records=run("a", MODEL), baseline=PUBLISHED_ALEXNET), tmp_path / "r")
    assert list(tmp_path.iterdir()) == []
