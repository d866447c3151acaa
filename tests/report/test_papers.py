from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import pytest

from robustcsc.measurements.trainings import Training
from robustcsc.models.catalog import MODELS
from robustcsc.records import FOOLING, Record, packed
from robustcsc.report import detrame_facts, res_msd_csc_facts, sdnet_facts, tddl_facts
from robustcsc.report.papers import Paper, paper_tables
from robustcsc.report.quantities import UNMEASURED
from robustcsc.report.table import Table
from robustcsc.report.template import PAPER, Printed
from robustcsc.report.words import MISSING

from .test_trainings import measured, training

RecordMaker = Callable[..., Record]
TEMPLATES: Mapping[Paper, tuple[Printed, ...]] = {
    "sdnet": sdnet_facts.TABLES,
    "detrame": detrame_facts.tables([]),
    "res-msd-csc": res_msd_csc_facts.TABLES,
    "tddl": tddl_facts.TABLES,
}
TEXTS = {
    "sdnet": "sdnet.md",
    "detrame": "detrame-net.txt",
    "res-msd-csc": "res-csc-msd-csc.md",
    "tddl": "tddl-cnn.txt",
}


def row(table: Table, *starts: str) -> dict[str, str]:
    (found,) = [cells for cells in table.rows if cells[: len(starts)] == starts]
    return dict(zip(table.columns, found, strict=True))


def by_name(paper: Paper, *told: Any) -> dict[str, Table]:
    return {table.name.rpartition("-")[2]: table for table in paper_tables(paper, *told)}


def text_of(paper: str) -> str:
    path = Path(__file__).parents[3] / "shared" / "papers" / TEXTS[paper]
    if not path.is_file():
        pytest.skip(f"the paper's text is not at {path}")
    return " ".join(path.read_text().split())


def test_the_means_of_table_2_are_table_3() -> None:
    """SDNet: the mean over severities is printed in the next table."""
    for name, figures in sdnet_facts.GAUSSIAN.items():
        assert fmean(map(float, figures)) == pytest.approx(float(sdnet_facts.MEANS[name][0]), abs=0.01)


def test_table_5_begins_where_tables_1_and_3_end() -> None:
    """SDNet: two iterations of FISTA are what the other tables were made with."""
    clean, *noisy = sdnet_facts.ITERATIONS[2]
    assert tuple(noisy) == sdnet_facts.MEANS[sdnet_facts.ADAPTIVE][-3:]
    first = {(data, called): tuple(rest) for data, called, _, *rest in sdnet_facts.ARCHITECTURES}
    assert first["imagenet", "SDNet-18"][1] == clean
    for data, called, _, *rest in sdnet_facts.ALL_LAYERS:
        assert first.get((data, called), tuple(rest)) == tuple(rest)


def test_the_printed_figures_give_the_gains_that_the_text_names() -> None:
    """DeTraMe-Net, section 5.3.2: least gain of PlainNet, its median, and the gain of ResNet 110."""
    gain = {
        (model, data): float(theirs.split()[0]) - float(original.split()[0])
        for model, by_data in detrame_facts.ACCURACY.items()
        for data, (original, theirs) in zip(detrame_facts.DATASETS, by_data, strict=True)
        if original != MISSING
    }
    plain = {data: [gain[f"plainnet{depth}", data] for depth in (3, 6, 9, 12)] for data in detrame_facts.DATASETS}
    assert [round(min(gains), 2) for gains in plain.values()] == [0.75, 2.22, 0.13]
    assert median(plain["cifar100"]) == pytest.approx(5.11, abs=0.0051)
    assert round(median(plain["svhn"]), 2) == 0.45
    assert [round(gain["resnet110", data], 2) for data in ("cifar10", "cifar100")] == [0.11, 0.06]
    assert min(gain.values()) > -1e-9


def test_unfolding_gains_what_the_text_names() -> None:
    """MSD-CSC, section VII-B: 12 layers unfolded twice gain 1.28 points over MSDNet on CIFAR10.

    For CIFAR100 the text says 3.08, where its own table gives 3.05.
    """
    accuracy = {(model, unfolding): figures for _, model, _, _, unfolding, figures in res_msd_csc_facts.MSD_CSC}
    fista, plain = accuracy["msd-csc-fista12", 2], accuracy["msdnet12", 0]
    assert [round(float(a) - float(b), 2) for a, b in zip(fista, plain, strict=True)] == [1.28, 3.05, 0.62]


def test_figures_that_the_text_scatters_are_those_of_the_paper() -> None:
    text = text_of("sdnet").replace("%", "")
    assert all(figure in text for figures in sdnet_facts.PGD.values() for figure in figures)
    text = re.sub(r"% ?±", " ±", text_of("detrame"))
    for model, by_data in detrame_facts.ACCURACY.items():
        words = detrame_facts.ARCHITECTURES[model]
        printed = " ".join("-" if figure == MISSING else figure for figures in by_data for figure in figures)
        assert f"{words} {printed}" in text
    for model, figures in detrame_facts.TIMES.items():
        assert f"{detrame_facts.ARCHITECTURES[model]} {' '.join(figures)}" in text
    for _, *fooled in detrame_facts.FOOLED.values():
        assert all(str(rate) in text for rate in fooled)
    for *_, accuracy, _ in detrame_facts.BESIDE_DDL:
        assert accuracy in text


@pytest.mark.parametrize("paper", ["sdnet", "res-msd-csc"])
def test_whole_rows_stand_in_the_paper_in_this_order(paper: Paper) -> None:
    text = " ".join(re.sub(r"[%|]|n/s|</?sup>", " ", text_of(paper)).replace("10.0GB", "10.0 GB").split())
    for printed in TEMPLATES[paper]:
        for it in printed.rows:
            figures = [figure for figure in it.printed if figure not in (MISSING, res_msd_csc_facts.CROSS)]
            numbers = " ".join(figures if not figures[0].endswith("M") else figures[1:])
            if printed.name != "sdnet-table-4":  # whose second and third row share a line
                assert numbers in text, (printed.name, it.words)


def test_task_driven_figures_are_those_of_the_paper_in_percent() -> None:
    text = text_of("tddl")
    for count, figures in tddl_facts.ACCURACY.items():
        line = " ".join(f"{float(figure) / 100:.3f}" for figure in figures)
        assert f"{count // 1000}K {line}" in text


@pytest.mark.parametrize("paper", TEMPLATES)
def test_every_row_asks_for_models_of_the_catalog(paper: Paper) -> None:
    for printed in TEMPLATES[paper]:
        for it in printed.rows:
            names = {column.model.format(it.who.model) for column in printed.columns} if it.who.model else set()
            assert names <= set(MODELS), (printed.name, it.words)
            assert len(it.printed) == sum(column.printed for column in printed.columns)


@pytest.mark.parametrize("paper", TEMPLATES)
def test_without_records_every_cell_says_so_and_the_printed_ones_stand_there(paper: Paper) -> None:
    for table, printed in zip(paper_tables(paper, []), TEMPLATES[paper], strict=True):
        assert len(table.rows) == len(printed.rows)
        start = len(printed.headings) + 1
        for cells, it in zip(table.rows, printed.rows, strict=True):
            told = dict(zip(table.columns[start:], cells[start:], strict=True))
            assert tuple(cell for name, cell in told.items() if name.startswith(PAPER)) == it.printed
            assert {cell for name, cell in told.items() if not name.startswith(PAPER)} == {UNMEASURED}
        assert any("not measured here" in note for note in table.notes)


def test_sdnets_rows_take_what_was_measured(records: list[Record]) -> None:
    tables = by_name("sdnet", records)
    second = row(tables["2"], "SDNet-18 w/ adaptive λ")
    assert second["severity 1"].startswith("84.76 [") and second["paper: severity 1"] == "84.76"
    assert second["measured on"] == "cifar10, 10000 images"
    used = row(tables["2"], "λ from linear fitting")
    assert [used[f"severity {at}"] for at in range(1, 6)] == ["0.49", "0.60", "0.75", "0.84", "0.94"]
    third = row(tables["3"], "SDNet-18 w/ λ = 0.1")
    assert third["CIFAR-10-C: gaussian noise"].startswith("50.58 [")
    assert third["ImageNet-C: gaussian noise"] == third["CIFAR-10-C: shot noise"] == UNMEASURED
    assert row(tables["1"], "CIFAR-10", "SDNet-18")["accuracy (%)"].startswith("95.20 [")
    fourth = row(tables["4"], "SDNet-18 (after tuning λ)")
    assert fourth["PGD L∞ 8/255"] == "35.20 [32.30, 38.21], 20 steps"  # static, as the title says
    assert fourth["lowest measured, L∞ 8/255"].startswith("0.50 [")  # the adaptive one
    assert "static: crafted at λ = 0.1" in tables["4"].title
    assert row(tables["4"], "ResNet-18")["PGD L∞ 8/255"].startswith("0.10 [")


def test_the_lowest_is_counted_image_by_image(record: RecordMaker) -> None:
    attack: dict[str, Any] = {"kind": "attack", "norm": "linf", "epsilon": 8 / 255, "steps": 20, "policy": "adaptive"}
    made = [
        record(correct=4, total=8, name="pgd", protocol="static", **attack),
        record(correct=4, total=8, name="square", protocol="black-box", **attack),
        record(correct=3, total=8, name="pgd", protocol="fixed", **{**attack, "policy": "fixed=0.5"}),
    ]
    kept = [
        replace(it, outcomes=packed([digit == "1" for digit in digits]))
        for it, digits in zip(made, ("11110000", "00111100", "00000111"), strict=True)
    ]
    found = row(by_name("sdnet", kept)["4"], "SDNet-18 (after tuning λ)")
    assert found["lowest measured, L∞ 8/255"].startswith("25.00 [")
    assert found["lowest measured, L∞ 8/255"].endswith("2 attacks")


@pytest.mark.parametrize(
    ("model", "policy", "lam", "called"),
    [
        ("sdnet18", "train", 0.2, None),
        ("sdnet18", "adaptive-image", 0.6, None),
        ("sdnet18", "oracle", 0.6, None),
        ("sdnet34", "adaptive", 0.6, "sdnet34 w/ adaptive λ"),
        ("resnet34", "none", None, "resnet34"),
        ("plainnet3", "none", None, None),
    ],
)
def test_what_the_paper_did_not_measure_never_fills_its_rows(
    record: RecordMaker, model: str, policy: str, lam: float | None, called: str | None
) -> None:
    made = [record(correct=50, total=100, severity=1, model=model, policy=policy, lam=lam)]
    second = by_name("sdnet", made)["2"]
    filled = {cells[0]: cells for cells in second.rows if cells[2] != UNMEASURED}
    filled.pop(f"λ from linear fitting, {model}", None)
    assert set(filled) == ({called} if called else set())
    assert all(set(cells[3::2]) == {MISSING} for cells in filled.values())


def test_iterations_have_rows_of_their_own(record: RecordMaker) -> None:
    known = [training("sdnet18", 0, options={"num_steps": steps}, weights=f"w{steps}") for steps in (2, 8)]
    made = [
        measured(record, it, correct, dataset="imagenet", policy="adaptive")
        for it, correct in zip(known, (7000, 7100), strict=True)
    ]
    fifth = by_name("sdnet", made, known)["5"]
    assert [row(fifth, steps)["ImageNet"].split()[0] for steps in ("2", "4", "8")] == ["70.00", "not", "71.00"]


def test_sizes_and_speeds_come_from_the_training(record: RecordMaker) -> None:
    known = [training("sdnet18", 0, parameters=11_200_000, trained_on=50_000, epochs=220, seconds=11_000.0)]
    made = [measured(record, known[0], 9520, dataset="cifar10", policy="train")]
    first = row(by_name("sdnet", made, known)["1"], "CIFAR-10", "SDNet-18")
    assert first["parameters"] == "11.20M"
    assert first["training (images/s)"] == "1000"
    assert first["training memory"] == UNMEASURED


def test_subsets_are_averaged_like_seeds(record: RecordMaker) -> None:
    known = [training("tddl-cnn", seed, trained_on=1_000, data="mnist") for seed in range(3)]
    known.append(training("tddl-cnn", 9, trained_on=60_000, data="mnist"))
    made = [
        measured(record, it, correct, dataset="mnist")
        for it, correct in zip(known, (9280, 9300, 9200, 9840), strict=True)
    ]
    (table,) = paper_tables("tddl", made, known)
    few, all_of_them = row(table, "1,000"), row(table, "60,000")
    assert few["TDDL-CNN"] == f"{fmean([92.8, 93.0, 92.0]):.2f} ± {stdev([92.8, 93.0, 92.0]):.2f}"
    assert (few["measured on"], few["paper: TDDL-CNN"]) == ("mnist, 10000 images, 3 seeds", "92.8")
    assert all_of_them["TDDL-CNN"].startswith("98.40 [")
    assert few["full-CNN"] == UNMEASURED


def test_one_line_of_table_iii_holds_all_data_sets(record: RecordMaker) -> None:
    trainings = [
        training("msd-csc-ista6", 0, weights=data, data=data, images=data, options={"unfolding": 1}, trained_on=n)
        for data, n in (("cifar10", 50_000), ("svhn", 73_257))
    ]
    made = [measured(record, it, 8800, dataset=it.data) for it in trainings]
    table = by_name("res-msd-csc", made, trainings)["3"]
    (line,) = [cells for cells in table.rows if cells[:3] == ("MSD-CSC-ISTA", "6", "1")]
    told = dict(zip(table.columns, line, strict=True))
    assert [told[name].split()[0] for name in ("CIFAR10", "CIFAR100", "SVHN")] == ["88.00", "not", "88.00"]
    assert told["paper: CIFAR10"] == "88.79"


@pytest.fixture
def pair() -> list[Training]:
    return [training(model, seed) for model in ("resnet8", "detrame-resnet8") for seed in (0, 1)]


def test_detrame_nets_stand_beside_the_network_trained_alike(record: RecordMaker, pair: list[Training]) -> None:
    made = [measured(record, of, correct) for of, correct in zip(pair, (8000, 7900, 8300, 8400), strict=True)]
    attack: dict[str, Any] = {"kind": "uap", "name": "uap", "norm": "linf", "epsilon": 0.04, "steps": 10}
    attack |= {"metric": FOOLING, "protocol": "plain"}
    for of, correct in zip(pair, (3000, 3200, 4000, 4200), strict=True):
        made += [measured(record, of, correct + 100 * sign, seed=sign + 1, **attack) for sign in (-1, 1)]
    tables = by_name("detrame", made, pair)
    fourth = row(tables["4"], "ResNet 8", "CIFAR-10")
    assert fourth["measured on"] == "cifar10-jpeg, 10000 images, 2 seeds"
    assert (fourth["original"], fourth["DeTraMe-Net"]) == ("79.50 ± 0.71", "83.50 ± 0.71 (3)")
    assert (fourth["paper: original"], fourth["paper: DeTraMe-Net"]) == ("87.36 ± 0.34", "89.13 ± 0.23 (3)")
    assert len(tables["4"].rows) == 30
    sixth = row(tables["6"], "ResNet 8", "CIFAR-10", "L∞", "0.04")
    assert (sixth["original"], sixth["DeTraMe-Net"]) == ("31.00 ± 1.41", "41.00 ± 1.41")
    assert sixth["paper: original"] == MISSING
    assert row(tables["6"], "WideResNet 16-8", "SVHN")["paper: DeTraMe-Net"] == "23.61 ± 5.61"
    seventh = row(tables["7"], "ResNet 8")
    assert seventh["training (s), original"] == "100"  # 100.5, to even
    assert seventh["paper: testing (s per image), DeTraMe-Net"] == "0.00021"
    third = row(tables["3"], "DeTraMe-Net 9 (best)", "CIFAR-10")
    assert (third["accuracy (%)"], third["paper: accuracy (%)"]) == (UNMEASURED, "93.40")


def test_other_ways_of_training_have_lines_of_their_own(record: RecordMaker, pair: list[Training]) -> None:
    other = training("resnet8", 0, weights="other", recipe={"epochs": 20}, epochs=20)
    made = [measured(record, of, 8000) for of in (*pair, other)]
    fourth = by_name("detrame", made, [*pair, other])["4"]
    lines = [cells[3:6:2] for cells in fourth.rows if cells[:2] == ("ResNet 8", "CIFAR-10")]
    assert sorted(UNMEASURED in line for line in lines) == [False, True]
