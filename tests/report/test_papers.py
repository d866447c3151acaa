from pathlib import Path

import pytest

from robustcsc.report import PAPER_SDNET, paper_tables
from robustcsc.report.papers import paper_row


def test_the_mean_of_table_2_is_table_3() -> None:
    for row, by_severity in PAPER_SDNET.gaussian.items():
        assert sum(by_severity) / 5 == pytest.approx(PAPER_SDNET.means["cifar10"][row]["gaussian_noise"], abs=0.01)


def test_the_figures_are_those_of_the_paper() -> None:
    paper = Path(__file__).parents[3] / "shared" / "papers" / "sdnet.md"
    if not paper.is_file():
        pytest.skip(f"the paper's text is not at {paper}")
    text = " ".join(paper.read_text().replace("%", "").split())
    for by_severity in PAPER_SDNET.gaussian.values():
        assert " ".join(f"{value:.2f}" for value in by_severity) in text
    assert " ".join(f"{lam:.2f}" for lam in PAPER_SDNET.gaussian_lambda) in text
    for row, means in PAPER_SDNET.means["cifar10"].items():
        further = PAPER_SDNET.means["imagenet"].get(row, {}).values()
        assert " ".join(f"{value:.2f}" for value in (*means.values(), *further)) in text
    for figures in PAPER_SDNET.pgd.values():
        assert f"{figures['linf']:.2f}" in text
        assert f"{figures['l2']:.2f}" in text


def test_tables_say_they_were_not_measured() -> None:
    for table in paper_tables():
        assert "not measured here" in table.title
    adaptive = paper_tables()[0].rows[3]
    assert adaptive == ("SDNet-18 w/ adaptive λ", "84.76", "74.87", "61.38", "54.77", "48.84")


@pytest.mark.parametrize(
    ("model", "policy", "lam", "row"),
    [
        ("resnet18", "none", None, "ResNet-18"),
        ("SDNet-18", "train", 0.1, "SDNet-18 w/ λ = 0.1"),
        ("sdnet18", "adaptive", 0.6, "SDNet-18 w/ adaptive λ"),
        ("sdnet18", "train", 0.2, None),
        ("sdnet18", "adaptive-image", 0.6, None),
        ("sdnet18", "oracle", 0.6, None),
        ("sdnet34", "adaptive", 0.6, None),
        ("resnet34", "none", None, None),
    ],
)
def test_only_what_the_paper_measured_has_a_row(model: str, policy: str, lam: float | None, row: str | None) -> None:
    assert paper_row(model, policy, lam) == row
