"""The quickstart on few images and one epoch: the same path as the whole one."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustcsc.measurements.examples import read_examples
from robustcsc.progress import Progress

Command = Callable[..., Any]


@pytest.mark.slow
def test_quickstart_tells_its_story_and_reuses_its_weights(
    few_digits: None, robustcsc: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustcsc.training.recipes import RECIPES

    monkeypatch.setitem(RECIPES, "textures", replace(RECIPES["textures"], epochs=1, batch_size=16))
    told: list[tuple[float, float]] = []

    @contextmanager
    def display() -> Iterator[Progress]:
        yield lambda _, done, total: told.append((done, total))

    monkeypatch.setattr("robustcsc.cli.commands.quickstart.progress_display", display)
    first = robustcsc("quickstart")
    assert first.code == 0, first.err
    steps = [line for line in first.err.splitlines() if line.startswith("[")]
    assert [step[:5] for step in steps] == [f"[{number}/6]" for number in range(1, 7)]
    assert len({total for _, total in told}) == 1 and told == sorted(told)  # one bar for the whole
    assert f"figures: {place / 'runs/quickstart-sdnet/reports/index.html'}" in first.err
    page = (place / "runs/quickstart-sdnet/reports/index.html").read_text()
    for run in ("quickstart-resnet", "quickstart-sdnet"):
        assert (place / "runs" / run / "results.csv").read_text().count(
            "\n"
        ) >= 1 + 1 + 4 * 3 + 1  # heading, clean, noises, attack
        sheet = read_examples(place / "runs" / run)
        assert sheet is not None and len(sheet.examples) == 4
        for version in (version for example in sheet.examples for version in example.versions):
            assert base64.b64encode(version.png).decode() in page, version.perturbation
        assert {path.suffix for path in (place / "runs/quickstart-sdnet/lambda").iterdir()} == {".json", ".csv", ".png"}
    assert "Under the 4 noises" in first.out  # what the adaptive lambda gained, whatever it is
    assert "The textures are synthetic and made for the model" in first.err
    assert "CIFAR-10 in the README" in first.err

    def train(*_: object, **__: object) -> None:
        pytest.fail("trained again")

    monkeypatch.setattr("robustcsc.session.training.train", train)
    again = robustcsc("quickstart --json")
    assert again.code == 0
    assert again.err.count("has weights already: they are used") == 2
    counted = json.loads(again.out)["records"]
    measured = {(row["model"], row["kind"], row["policy"]) for row in counted}
    assert {("resnet-textures", "attack", "none"), ("sdnet-textures", "corruption", "adaptive")} <= measured
    assert all(0 <= row["low"] <= row["rate"] <= row["high"] <= 1 for row in counted)


@pytest.mark.slow
def test_digits_are_learned_by_the_shipped_recipe(robustcsc: Command) -> None:
    assert robustcsc("train sdnet-digits").code == 0
    (clean,) = json.loads(robustcsc("evaluate --json").out)
    assert clean["rate"] >= 0.95


@pytest.mark.slow
def test_textures_are_learned_by_the_shipped_recipe_and_the_strongest_noise_gains(robustcsc: Command) -> None:
    assert robustcsc("train sdnet-textures").code == 0
    typed = "sweep --corruptions gaussian_noise --severities 5 --lambda train,fixed=0.6 --json"
    clean, _, noisy, larger = json.loads(robustcsc(typed).out)
    assert clean["rate"] >= 0.95
    assert larger["rate"] >= noisy["rate"] + 0.08
