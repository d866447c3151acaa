"""A file does what its commands do, each typed by itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch

import robustcsc as rc
from robustcsc.cli import main as cli_main
from robustcsc.data.catalog import EMBEDDED
from robustcsc.data.memory import MemoryImages
from robustcsc.errors import ExperimentError
from robustcsc.experiments.reading import example_text
from robustcsc.measurements.facts import replace as with_changes
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import Record
from robustcsc.measurements.store import ResultStore
from robustcsc.runs import Run
from robustcsc.training.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = """\
data.name = "digits"

[[train]]
run = "sdnet"
model = "sdnet-digits"
epochs = 1

[[model]]
run = "sdnet-digits"

[fit-lambda]
grid = [0.1, 0.2]

[sweep]
corruptions = "gaussian_noise"
severities = [1, 3]
lambda = ["train", "adaptive"]

[[attack]]
runs = "sdnet"
attack = "fgsm"
limit = 10

[report]
out = "report"
"""
#: The same without a report: its figures take longer than all else.
MEASURED = SMALL.partition("[report]")[0]
TRAINED = SMALL.partition("[[model]]")[0]


@cache
def few(whole: Callable[[str], MemoryImages], split: str) -> MemoryImages:
    """Returns the first images of an embedded set, made once for all tests."""
    return whole(split).subset(torch.arange(20 if split == "test" else 60))


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves 20 test images and 60 training images of the embedded sets, and one epoch of training."""
    for name, whole in list(EMBEDDED.items()):
        monkeypatch.setitem(EMBEDDED, name, partial(few, whole))
        monkeypatch.setitem(RECIPES, name, replace(RECIPES[name], epochs=1, batch_size=16))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything(place: Path) -> dict[str, bytes | None]:
    """Returns all that lies in a folder."""
    return {str(it.relative_to(place)): None if it.is_dir() else it.read_bytes() for it in sorted(place.rglob("*"))}


def facts(name: str) -> list[Record]:
    """Returns the records of a run without what differs between two machines or times."""
    with ResultStore(Run(Path("runs") / name).store_path, read_only=True) as store:
        records = store.records()
    timeless = [with_changes(it, provenance=with_changes(it.provenance, seconds=0.0, created="")) for it in records]
    return sorted(timeless, key=lambda record: record.measurement.key)


#: The example of `robustcsc run --example`, typed one by one.
TYPED = """
train resnet-textures --data textures --run resnet
fit-lambda --run sdnet-textures --noise gaussian,pooled
sweep --run resnet --corruptions noise --severities 1,3,5
sweep --run sdnet-textures --corruptions noise --severities 1,3,5 --lambda train,adaptive
attack --run resnet --attack pgd --norm linf --epsilon 2/255,8/255 --limit 200
attack --run sdnet-textures --attack pgd --norm linf --epsilon 2/255,8/255 --limit 200
uap --run resnet --xi 0.1 --crafting-images 200 --limit 200
uap --run sdnet-textures --xi 0.1 --crafting-images 200 --limit 200
"""


def test_progress_is_of_the_whole_file_and_steps_count_by_their_passes(place: Path) -> None:
    Path("small.toml").write_text(MEASURED)
    planned = {(it.step, it.run): it.passes for it in rc.plan_experiment("small.toml")}
    assert planned["train", "sdnet"] == 3 * 3 * 16  # forth and back, three batches of 16
    # Ten levels, two lambdas and the residual, half of the images; six lines and the residual on the other half.
    assert planned["fit-lambda", "sdnet"] == 10 * 3 * 10 + 7 * 10
    assert planned["sweep", "sdnet"] == 3 * 3 * 20  # clean and two severities, two policies, of which one looks first
    told: list[tuple[float, float]] = []
    rc.run_experiment("small.toml", measuring=rc.Measuring(progress=lambda _, done, total: told.append((done, total))))
    (whole,) = {total for _, total in told}
    done = [share for share, _ in told]
    assert done == sorted(done) and 0 < done[0] < whole / 10 and done[-1] == pytest.approx(whole)
    told.clear()
    rc.run_experiment("small.toml", measuring=rc.Measuring(progress=lambda _, done, total: told.append((done, total))))
    assert told == []  # all is there


@pytest.mark.slow
def test_the_example_gives_the_records_of_its_commands(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for way in ("typed", "file"):
        (place / way).mkdir()
        monkeypatch.chdir(place / way)
        if way == "typed":
            for line in TYPED.split("\n")[1:-1]:
                assert cli_main.main(line.split()) == 0, line
        else:
            Path("experiment.toml").write_text(example_text())
            planned = rc.plan_experiment("experiment.toml")
            assert cli_main.main(["run", "experiment.toml"]) == 0
            again = rc.plan_experiment("experiment.toml")
            assert {(it.step, it.run, it.missing + it.stored, 0) for it in planned} == {
                (it.step, it.run, it.stored, it.missing) for it in again
            }
        fits = [LambdaFit.load(path).digest for path in sorted(Path("runs/sdnet-textures/lambda").glob("*.json"))]
        made.append((facts("sdnet-textures"), facts("resnet"), fits))
    typed, filed = made
    assert len(typed[0]) == 26 + 7 - 1 + 14  # what the attack finds clean is one of the sweep's: all 20 images
    assert typed == filed


def test_a_file_is_carried_out_once(place: Path) -> None:
    Path("small.toml").write_text(SMALL)
    planned = rc.plan_experiment("small.toml")
    assert [(it.step, it.run, it.missing, it.stored) for it in planned] == [
        ("train", "sdnet", 1, 0),
        ("fit-lambda", "sdnet", 1, 0),
        ("fit-lambda", "sdnet-digits", 1, 0),
        ("sweep", "sdnet", 6, 0),
        ("sweep", "sdnet-digits", 6, 0),
        ("attack", "sdnet", 4, 0),
    ]
    assert [it.name for it in place.iterdir()] == ["small.toml"]  # nothing was written
    notes: list[str] = []
    first = rc.run_experiment("small.toml", measuring=rc.Measuring(note=notes.append))
    assert [it for it in notes if it.startswith("[")] == [
        "[1/7] train sdnet-digits: sdnet",
        "[2/7] fit-lambda: sdnet",
        "[3/7] fit-lambda: sdnet-digits",
        "[4/7] sweep: sdnet",
        "[5/7] sweep: sdnet-digits",
        "[6/7] attack: sdnet",
        "[7/7] report",
    ]
    assert len(first.records) == 16
    assert all(it.missing == 0 for it in rc.plan_experiment("small.toml"))
    again = rc.run_experiment("small.toml")
    assert again.records == first.records  # with the times at which they were measured


def test_the_report_shows_the_file(place: Path) -> None:
    swept = '[sweep]\ncorruptions = "contrast"\nseverities = [1]\n\n# why: <it> & that\n[report]\nout = "report"\n'
    text = SMALL.partition("[fit-lambda]")[0] + swept
    (place / "deep").mkdir()
    Path("deep/small.toml").write_text(text)
    paths = rc.run_experiment("deep/small.toml").report
    assert paths is not None
    assert paths.folder == place / "deep/report"
    page = paths.page.read_text()
    assert "The file small.toml: sdnet, sdnet-digits" in page
    assert "# why: &lt;it&gt; &amp; that\n[report]" in page
    assert "    [report]\n    out = &#34;report&#34;" not in page
    assert '    # why: <it> & that\n    [report]\n    out = "report"\n' in paths.markdown.read_text()
    assert Path("runs/sdnet/experiments/small.toml").read_text() == text


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ('"gaussian_noise"', '"gausian_noise"', "[sweep]: Unknown corruption 'gausian_noise': did you mean"),
        ('"fgsm"', '"fgsm"\nprotocols = "transfer"', "[attack]: The protocol transfer needs a run to craft on"),
        ('data.name = "digits"', 'data = {name = "cifar10", root = "no"}', "[train]: "),
        ("epochs = 1", "train-images = 3", "[train]: A balanced subset of 3 images needs"),
        ('out = "report"', 'html = "no/page.html"', "html of [report]: The page no/page.html cannot be written to"),
    ],
)
def test_the_whole_file_is_checked_before_anything_is_trained(
    right: str, wrong: str, sentence: str, place: Path
) -> None:
    assert right in SMALL
    Path("small.toml").write_text(SMALL.replace(right, wrong))
    with pytest.raises(ExperimentError) as told:
        rc.run_experiment("small.toml")
    assert sentence in str(told.value)
    assert [it.name for it in place.iterdir()] == ["small.toml"]


def test_weights_of_another_training_are_refused(place: Path) -> None:
    Path("small.toml").write_text(TRAINED)
    rc.run_experiment("small.toml")
    before = everything(place / "runs")
    Path("small.toml").write_text(TRAINED.replace("epochs = 1", "epochs = 2\nseed = 1"))
    with pytest.raises(ExperimentError, match=r"line 3, \[train\]: Run 'sdnet' was trained with another recipe and"):
        rc.run_experiment("small.toml")
    assert everything(place / "runs") == before


def test_an_interrupted_experiment_goes_on_where_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcsc.evaluation import measure

    Path("small.toml").write_text(MEASURED)
    counted: list[Any] = []
    whole = measure.Evaluator.measure

    def until(most: float) -> Callable[..., Any]:
        def measuring(self: Any, job: Any) -> Any:
            if len(counted) >= most:
                raise KeyboardInterrupt
            counted.extend(job.cells)
            return whole(self, job)

        return measuring

    monkeypatch.setattr(measure.Evaluator, "measure", until(4))
    assert cli_main.main(["run", "small.toml"]) == 130
    monkeypatch.setattr(measure.Evaluator, "measure", until(float("inf")))
    assert cli_main.main(["run", "small.toml"]) == 0
    assert len(counted) == 3 + 3 + 4  # the cells of two sweeps and an attack, each once


SUITED = """\
[[model]]
run = "one"

[[model]]
run = "two"

[[sweep]]
corruptions = "gaussian_noise"
severities = 1
lambda = ["fixed=0.2"]

[[attack]]
attack = "fgsm"
protocols = ["plain", "fixed", "transfer"]
lambdas = [0.1, 0.2]
from = "two"

[[attack]]
attack = "fgsm"
protocols = "fixed"

[fit-lambda]
"""


@pytest.fixture
def two_runs(place: Path) -> Iterator[None]:
    """The runs ``one``, an SDNet, and ``two``, a ResNet."""
    for name, model in (("one", "sdnet-digits"), ("two", "resnet-digits")):
        rc.train(rc.TrainingRequest(model=model, run=name), rc.DataChoice("digits"))
    yield


def test_a_table_does_with_a_run_what_suits_it(place: Path, two_runs: None) -> None:
    Path("suited.toml").write_text(SUITED)
    assert [(it.step, it.run, it.missing) for it in rc.plan_experiment("suited.toml")] == [
        ("fit-lambda", "one", 1),  # two has no lambda
        ("sweep", "one", 2),
        ("sweep", "two", 2),
        ("attack", "one", 1 + 1 + 2 + 2),  # clean, plain, two lambdas, transfer to the training and the adaptive one
        ("attack", "two", 1 + 1),  # clean and plain: it has no lambda, and nothing is transferred to itself
        ("attack", "one", 1 + 15),
    ]
