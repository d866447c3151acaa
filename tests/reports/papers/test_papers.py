from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import pytest

from robustcsc.measurements.records import Record
from robustcsc.measurements.trainings import Training
from robustcsc.models.catalog import MODELS
from robustcsc.presentation.table import Estimate, Noted, Spread
from robustcsc.presentation.words import MISSING
from robustcsc.reports.papers import detrame, res_msd_csc, sdnet, tddl
from robustcsc.reports.papers.names import Paper
from robustcsc.reports.papers.papers import paper_tables
from robustcsc.reports.papers.template import PAPER, UNMEASURED, PaperTable
from tests.reports.trained import run_of, training

from .tables import NOT_MEASURED, by_name, headings, row

RecordMaker = Callable[..., Record]
TEMPLATES: Mapping[Paper, tuple[PaperTable, ...]] = {
    "sdnet": sdnet.TABLES,
    "detrame": detrame.tables([]),
    "res-msd-csc": res_msd_csc.TABLES,
    "tddl": tddl.TABLES,
}
TEXTS = {
    "sdnet": "sdnet.md",
    "detrame": "detrame-net.txt",
    "res-msd-csc": "res-csc-msd-csc.md",
    "tddl": "tddl-cnn.txt",
}


def text_of(paper: str) -> str:
    path = Path(__file__).parents[4] / "shared" / "papers" / TEXTS[paper]
    if not path.is_file():
        pytest.skip(f"the paper's text is not at {path}")
    return " ".join(path.read_text().split())


def printed(table: PaperTable) -> list[list[str]]:
    """What the rows of a paper's table print, as text."""
    columns = [column.columns[1] for column in table.columns if column.printed]
    return [[column.text(cell) for column, cell in zip(columns, it.printed, strict=True)] for it in table.rows]


def test_the_means_of_table_2_are_table_3() -> None:
    """SDNet: the mean over severities is printed in the next table."""
    for name, figures in sdnet.GAUSSIAN.items():
        assert fmean(figures) == pytest.approx(sdnet.MEANS[name][0], abs=0.01)


def test_table_5_begins_where_tables_1_and_3_end() -> None:
    """SDNet: two iterations of FISTA are what the other tables were made with."""
    clean, *noisy = sdnet.ITERATIONS[2]
    assert tuple(noisy) == sdnet.MEANS[sdnet.ADAPTIVE][-3:]
    first = {(data, called): accuracy for data, called, _, _, accuracy, *_ in sdnet.ARCHITECTURES}
    assert first["imagenet", "SDNet-18"] == clean


def test_table_6_pairs_the_architectures_of_table_1_with_those_of_csc_layers_alone() -> None:
    """SDNet, section C.3."""
    first, *_, last, _ = sdnet.TABLES
    known = {it.names: it.printed for it in first.rows}
    below = {it.names: it.printed for it in last.rows}
    assert [name for _, name in below] == ["SDNet-18", "SDNet-18-all"] * 3 + ["SDNet-34", "SDNet-34-all"]
    assert all(known.get(names, figures) == figures for names, figures in below.items())
    assert {it.entrant.model for it in last.rows} == {"sdnet18", "sdnet18-all", "sdnet34", "sdnet34-all"}


def test_the_published_checkpoints_lose_a_little_with_each_change() -> None:
    """SDNet's README; the first two are within half a point of the means of tables 1 and 6."""
    *_, sixth, checkpoints = sdnet.TABLES
    for data in sdnet.NAMES:
        figures = [by_data[data] for by_data in sdnet.CHECKPOINTS.values()]
        assert figures == sorted(figures, reverse=True)
    known = {it.names: it.printed[1] for it in sixth.rows}
    near = [(it.printed[0], known[it.names]) for it in checkpoints.rows if it.names in known]
    assert len(near) == 6
    assert all(printed == pytest.approx(mean, abs=0.5) for printed, mean in near)
    assert {it.entrant.model for it in checkpoints.rows} == {"sdnet18", "sdnet18-all", "sdnet18-all-plain"}


def test_the_printed_figures_give_the_gains_that_the_text_names() -> None:
    """DeTraMe-Net, section 5.3.2: least gain of PlainNet, its median, and the gain of ResNet 110."""
    gain = {
        (model, data): figures[2] - figures[0]
        for model, by_data in detrame.ACCURACY.items()
        for data, figures in zip(detrame.DATASETS, by_data, strict=True)
        if figures
    }
    plain = {data: [gain[f"plainnet{depth}", data] for depth in (3, 6, 9, 12)] for data in detrame.DATASETS}
    assert [round(min(gains), 2) for gains in plain.values()] == [0.75, 2.22, 0.13]
    assert median(plain["cifar100"]) == pytest.approx(5.11, abs=0.0051)
    assert round(median(plain["svhn"]), 2) == 0.45
    assert [round(gain["resnet110", data], 2) for data in ("cifar10", "cifar100")] == [0.11, 0.06]
    assert min(gain.values()) > -1e-9


def test_unfolding_gains_what_the_text_names() -> None:
    """MSD-CSC, section VII-B: 12 layers unfolded twice gain 1.28 points over MSDNet on CIFAR10.

    For CIFAR100 the text says 3.08, where its own table gives 3.05.
    """
    accuracy = {(model, unfolding): figures for _, model, _, _, unfolding, figures in res_msd_csc.MSD_CSC}
    fista, plain = accuracy["msd-csc-fista12", 2], accuracy["msdnet12", 0]
    assert [round(a - b, 2) for a, b in zip(fista, plain, strict=True)] == [1.28, 3.05, 0.62]


def test_figures_that_the_text_scatters_are_those_of_the_paper() -> None:
    text = text_of("sdnet").replace("%", "")
    assert all(f"{figure:.2f}" in text for figures in sdnet.PGD.values() for figure in figures)
    text = re.sub(r"% ?±", " ±", text_of("detrame"))
    third, fourth, _, sixth, _ = map(printed, TEMPLATES["detrame"])
    for at, (model, words) in enumerate(detrame.ARCHITECTURES.items()):
        figures = " ".join(chain.from_iterable(fourth[at::10])).replace(MISSING, "-")
        assert f"{words} {figures}" in text
        training, testing = detrame.TIMES[model][:2], detrame.TIMES[model][2]
        assert f"{words} {' '.join(f'{figure:.2f}' for figure in (*training, *testing))}" in text
    assert all(rate in text for rates in sixth for rate in rates)
    assert all(accuracy in text for _, accuracy in third)


@pytest.mark.parametrize("paper", ["sdnet", "res-msd-csc"])
def test_whole_rows_stand_in_the_paper_in_this_order(paper: Paper) -> None:
    text = " ".join(re.sub(r"[%|]|n/s|</?sup>", " ", text_of(paper)).replace("10.0GB", "10.0 GB").split())
    for table in TEMPLATES[paper]:
        for figures in printed(table):
            kept = [figure for figure in figures if figure not in (MISSING, res_msd_csc.CROSS.words)]
            numbers = " ".join(kept if not kept[0].endswith("M") else kept[1:])
            # The second and third row of table 4 share a line; the checkpoints are not in the paper.
            if table.name not in ("sdnet-table-4", "sdnet-checkpoints"):
                assert numbers in text, (table.name, figures)


def test_task_driven_figures_are_those_of_the_paper_in_percent() -> None:
    text = text_of("tddl")
    for count, figures in tddl.ACCURACY.items():
        line = " ".join(f"{figure / 100:.3f}" for figure in figures)
        assert f"{count // 1000}K {line}" in text


@pytest.mark.parametrize("paper", TEMPLATES)
def test_every_row_asks_for_models_of_the_catalog(paper: Paper) -> None:
    for table in TEMPLATES[paper]:
        for it in table.rows:
            model = it.entrant.model
            assert {column.model.format(model) for column in table.columns if model} <= set(MODELS), it.names
            assert len(it.printed) == sum(column.printed for column in table.columns)


@pytest.mark.parametrize("paper", TEMPLATES)
def test_without_records_every_cell_says_so_and_the_printed_ones_stand_there(paper: Paper) -> None:
    for table, template in zip(paper_tables(paper, []), TEMPLATES[paper], strict=True):
        assert len(table.rows) == len(template.rows)
        start = len(template.headings) + 1
        for cells, it in zip(table.rows, template.rows, strict=True):
            told = dict(zip(headings(table)[start:], cells[start:], strict=True))
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
    assert third["ImageNet-C: gaussian noise"] == third["CIFAR-10-C: shot noise"] == NOT_MEASURED
    assert row(tables["1"], "CIFAR-10", "SDNet-18")["accuracy (%)"].startswith("95.20 [")
    fourth = row(tables["4"], "SDNet-18 (after tuning λ)")
    assert fourth["PGD L∞ 8/255"] == "35.20 [32.30, 38.21] (20 steps)"  # static, as the title says
    assert fourth["lowest measured, L∞ 8/255"].startswith("0.50 [")  # the adaptive one
    assert "static: crafted at λ = 0.1" in tables["4"].title
    assert row(tables["4"], "ResNet-18")["PGD L∞ 8/255"].startswith("0.10 [")


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
    corruption: RecordMaker, model: str, policy: str, lam: float | None, called: str | None
) -> None:
    made = [corruption(met=50, total=100, model=model, policy=policy, lam=lam)]
    second = by_name("sdnet", made)["2"]
    filled = {cells[0]: cells for cells in second.texts if cells[2] != NOT_MEASURED}
    filled.pop(f"λ from linear fitting, {model}", None)
    assert set(filled) == ({called} if called else set())
    assert all(set(cells[3::2]) == {MISSING} for cells in filled.values())


def test_iterations_have_rows_of_their_own(clean: RecordMaker) -> None:
    known = [training("sdnet18", 0, options={"num_steps": steps}, weights=f"w{steps}") for steps in (2, 8)]
    made = [
        clean(met=correct, **run_of(it), dataset="imagenet", policy="adaptive")
        for it, correct in zip(known, (7000, 7100), strict=True)
    ]
    fifth = by_name("sdnet", made, known)["5"]
    assert [row(fifth, steps)["ImageNet"].split()[0] for steps in ("2", "4", "8")] == ["70.00", "not", "71.00"]


def test_subsets_are_averaged_like_seeds(clean: RecordMaker) -> None:
    known = [training("tddl-cnn", seed, trained_on=1_000, data="mnist") for seed in range(3)]
    known.append(training("tddl-cnn", 9, trained_on=60_000, data="mnist"))
    made = [
        clean(met=correct, **run_of(it), dataset="mnist")
        for it, correct in zip(known, (9280, 9300, 9200, 9840), strict=True)
    ]
    (table,) = paper_tables("tddl", made, known)
    few, all_of_them = row(table, "1,000"), row(table, "60,000")
    assert few["TDDL-CNN"] == f"{fmean([92.8, 93.0, 92.0]):.2f} ± {stdev([92.8, 93.0, 92.0]):.2f}"
    assert (few["measured on"], few["paper: TDDL-CNN"]) == ("mnist, 10000 images, 3 seeds", "92.8")
    assert all_of_them["TDDL-CNN"].startswith("98.40 [")
    assert few["full-CNN"] == NOT_MEASURED


def test_one_line_of_table_iii_holds_all_data_sets(clean: RecordMaker) -> None:
    trainings = [
        training("msd-csc-ista6", 0, weights=data, data=data, images=data, options={"unfolding": 1}, trained_on=n)
        for data, n in (("cifar10", 50_000), ("svhn", 73_257))
    ]
    made = [clean(met=8800, **run_of(it), dataset=it.data) for it in trainings]
    table = by_name("res-msd-csc", made, trainings)["3"]
    (line,) = [cells for cells in table.texts if cells[:3] == ("MSD-CSC-ISTA", "6", "1")]
    told = dict(zip(headings(table), line, strict=True))
    assert [told[name].split()[0] for name in ("CIFAR10", "CIFAR100", "SVHN")] == ["88.00", "not", "88.00"]
    assert told["paper: CIFAR10"] == "88.79"


@pytest.fixture
def pair() -> list[Training]:
    return [training(model, seed) for model in ("resnet8", "detrame-resnet8") for seed in (0, 1)]


def test_detrame_nets_stand_beside_the_network_trained_alike(
    clean: RecordMaker, universal: RecordMaker, pair: list[Training]
) -> None:
    made = [
        clean(met=correct, dataset="cifar10-jpeg", **run_of(of))
        for of, correct in zip(pair, (8000, 7900, 8300, 8400), strict=True)
    ]
    for of, correct in zip(pair, (3000, 3200, 4000, 4200), strict=True):
        for crafting in ({"seed": 0}, {"seed": 2}):
            about: dict[str, Any] = {"dataset": "cifar10-jpeg", "epsilon": 0.04, "crafting": crafting, **run_of(of)}
            made.append(universal(met=correct + 100 * (crafting["seed"] - 1), **about))
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
    assert (third["accuracy (%)"], third["paper: accuracy (%)"]) == (NOT_MEASURED, "93.40")


def test_other_ways_of_training_have_lines_of_their_own(clean: RecordMaker, pair: list[Training]) -> None:
    other = training("resnet8", 0, weights="other", recipe={"epochs": 20}, epochs=20)
    made = [clean(met=8000, dataset="cifar10-jpeg", **run_of(of)) for of in (*pair, other)]
    fourth = by_name("detrame", made, [*pair, other])["4"]
    lines = [cells[3:6:2] for cells in fourth.texts if cells[:2] == ("ResNet 8", "CIFAR-10")]
    assert sorted(NOT_MEASURED in line for line in lines) == [False, True]


def test_perturbations_crafted_on_other_images_are_never_averaged(universal: RecordMaker, pair: list[Training]) -> None:
    made = [
        universal(met=correct, dataset="cifar10-jpeg", crafting={"images": images}, **run_of(of))
        for of in pair
        for images, correct in (("few", 3000), ("many", 4000))
    ]
    sixth = row(by_name("detrame", made, pair)["6"], "ResNet 8", "CIFAR-10")
    assert (sixth["original"], sixth["DeTraMe-Net"]) == ("40.00 ± 0.00", "40.00 ± 0.00")


def test_cells_are_numbers(clean: RecordMaker, pair: list[Training]) -> None:
    made = [clean(met=correct, **run_of(of)) for of, correct in zip(pair[1:], (8000, 8300, 8500), strict=True)]
    fourth = by_name("detrame", made, pair[1:])["4"]
    (cells,) = [cells for cells in fourth.rows if cells[:2] == ("ResNet 8", "CIFAR-10")]
    original, printed_original, theirs, printed_theirs = cells[3:]
    assert isinstance(original, Estimate) and (original.value, original.n) == (0.8, 10000)
    assert isinstance(theirs, Noted) and isinstance(theirs.cell, Spread)
    assert theirs.cell.mean == pytest.approx(0.84)
    assert (theirs.note, theirs.cell.seeds) == ("3", 2)
    assert printed_original == Spread(87.36, 0.34)
    assert printed_theirs == Noted(Spread(89.13, 0.23), "3")
