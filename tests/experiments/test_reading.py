"""What a file says, and what is told about a mistake in it: without PyTorch."""

import subprocess
import sys
from pathlib import Path

import pytest

from robustcsc.errors import ExperimentError
from robustcsc.experiments.experiment import Experiment
from robustcsc.experiments.reading import example_text, read_experiment
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.threats import ThreatModel

TEXT = """\
device = "cpu"

[data]
name = "digits"
root = "pictures"

[[train]]
run = "sdnet"
model = "sdnet-digits"
model-option = {atoms = 8}
epochs = 2
seeds = [0, 1]

[[train]]
run = "resnet"
model = "resnet-digits"

[fit-lambda]
noise = ["gaussian", "pooled"]
grid = [
  0.1,
  0.2,
]

[sweep]
corruptions = "noise"
severities = [1, 5]
lambda = ["train", "adaptive"]

[[attack]]
epsilon = ["2/255", 0.1]

[[attack]]
suite = "standard"
from = "resnet"
runs = "sdnet"

[uap]
xi = 0.1

[report]
title = "x"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str) -> Experiment:
    Path("mine.toml").write_text(text)
    return read_experiment(Path("mine.toml"))[1]


def test_a_file_becomes_facts(place: Path) -> None:
    said = read(TEXT)
    assert said.runs == ("sdnet-0", "sdnet-1", "resnet")
    assert [(it.run, it.seed, it.epochs, it.options) for it in said.train[0].requests] == [
        ("sdnet-0", 0, 2, {"atoms": 8}),
        ("sdnet-1", 1, 2, {"atoms": 8}),
    ]
    assert said.fit_lambda[0].grid == (0.1, 0.2)
    assert said.sweep[0].corruptions == ("noise",)  # one value stands for a list of one
    assert said.sweep[0].severities == (1, 5)
    pgd, suite = said.attack
    assert pgd.request.steps == (AttackStep.of("pgd"),)
    assert pgd.request.threats == (ThreatModel("linf", 2 / 255), ThreatModel("linf", 0.1))
    assert (suite.suite, suite.surrogate, said.meant(suite.runs)) == ("standard", "resnet", ("sdnet-0", "sdnet-1"))
    assert said.uap[0].protocols == (Protocol.PLAIN,)
    assert [key for (key, _), _ in said.steps()] == ["fit-lambda", "sweep", "attack", "attack", "uap"]


def test_paths_are_relative_to_the_file(place: Path) -> None:
    (place / "deep").mkdir()
    (place / "deep/mine.toml").write_text(TEXT.replace('title = "x"', 'out = "reports"\nhtml = "/tmp/page.html"'))
    said = read_experiment(Path("deep/mine.toml"))[1]
    assert said.report is not None
    assert (said.data.root, said.report.out) == (Path("deep/pictures"), Path("deep/reports"))
    assert said.report.html == Path("/tmp/page.html")


def test_a_table_alone_and_a_list_of_tables_say_the_same(place: Path) -> None:
    assert read(TEXT) == read(TEXT.replace("[sweep]", "[[sweep]]").replace("[fit-lambda]", "[[fit-lambda]]"))


#: What is right in `TEXT`, what stands there instead, and what is told about it.
MISTAKES = {
    "a key": ("epochs = 2", "epoch = 2", "epoch of [train]: there is no such key: did you mean 'epochs'?"),
    "a table": ("[sweep]", "[swep]", "swep: there is no such key: did you mean 'sweep'?"),
    "a type": ("epochs = 2", 'epochs = "two"', "epochs of [train]: 'two' is not a whole number of at least 1 and"),
    "a bound": (
        "severities = [1, 5]",
        "severities = [1, 6]",
        "severities of [sweep]: 6 is not a whole number of at least 1 and at most 5.",
    ),
    "a choice": ('"cpu"', '"gpu"', "device: unknown word 'gpu': did you mean 'cuda'?"),
    "a choice or nothing": ('title = "x"', 'paper = "sdnt"', "paper of [report]: unknown word 'sdnt': did you mean"),
    "text": ('title = "x"', "title = 3", "title of [report]: 3 is not text in quotes."),
    "a list": ("grid = [\n  0.1,", 'grid = [\n  "a",', "grid of [fit-lambda]: 'a' is not a number."),
    "options": ("{atoms = 8}", "8", "model-option of [train]: 8 is not a table, like {key = value}."),
    "a seed twice": ("seeds = [0, 1]", "seeds = [0, 0]", "seeds of [train]: seed 0 stands there twice: leave one out."),
    "a baseline": (
        'title = "x"',
        'baseline = "alexnt"',
        "baseline of [report]: Unknown run 'alexnt': did you mean 'alexnet'?",
    ),
    "a policy": ('"adaptive"', '"adaptiv"', "lambda of [sweep]: Unknown lambda policy 'adaptiv': did you mean"),
    "a noise": ('"pooled"', '"poled"', "noise of [fit-lambda]: Unknown noise 'poled': did you mean 'pooled'?"),
    "a suite": ('"standard"', '"standrd"', "suite of [attack] number 2: Unknown suite 'standrd': did you mean"),
    "an attack": ("epsilon =", 'attack = "pdg"\nepsilon =', "attack of [attack]: Unknown attack 'pdg': did you mean"),
    "a setting": ("epsilon =", 'attack = "fgsm:steps=2"\nepsilon =', "attack of [attack]: The attack fgsm has no"),
    "a protocol": ("xi = 0.1", 'protocols = "grid"', "protocols of [uap]: Unknown attack protocol 'grid': "),
    "a budget": ('"2/255"', '"2/2x"', "epsilon of [attack]: '2/2x' is no attack budget"),
    "grey levels": ("0.1]", "300]", "epsilon of [attack]: Budgets in linf are in pixel units of [0, 1], so 300"),
    "an attack and a suite": ('suite = "standard"', 'suite = "standard"\nin-turn = true', "A suite has attacks and"),
    "a transfer": ('from = "resnet"', 'suite = "paper"\nfrom = "resnet"', "The suite paper has no transfer attacks"),
    "a data set": ('name = "digits"', 'name = "digit"', "name of [data]: Unknown data set 'digit': did you mean"),
    "a corruption": (
        'corruptions = "noise"',
        'corruptions = "nois"',
        "corruptions of [sweep]: Unknown corruption 'nois'",
    ),
    "a severity table": (
        'corruptions = "noise"',
        'corruptions = "noise"\nspec = "cifar"',
        "spec of [sweep]: Unknown severity table 'cifar'",
    ),
    "a radius": ("xi = 0.1", "xi = 0", "xi of [uap]: xi must be above 0"),
    "a recipe": ("epochs = 2", 'recipe = "sdnet-cifr"', "recipe of [train]: Unknown recipe 'sdnet-cifr': did you"),
    "a training's budget": ("epochs = 2", "epsilon = 0.1", "epsilon of [train]: --epsilon is the budget of"),
    "two runs of a name": ('run = "resnet"', 'run = "sdnet-1"', "run of [train] number 2: the run 'sdnet-1' is named"),
    "a run": ('runs = "sdnet"', 'runs = "sdne"', "runs of [attack] number 2: no table [train] or [model] has the run"),
    "a surrogate": ('from = "resnet"', 'from = "resnt"', "from of [attack] number 2: Unknown run 'resnt': did you"),
    "a baseline of the file": (
        'title = "x"',
        'baseline = "resnt"',
        "baseline of [report]: Unknown run 'resnt': did you mean",
    ),
    "a model": ("[report]", '[model]\nrun = "nowhere"\n[report]', "run of [model]: No run 'nowhere'"),
    "weights": (
        "[report]",
        '[model]\nrun = "own"\nmodel = "resnet20"\nweights = "no.pth"\n[report]',
        "weights of [model]: There are no weights at no.pth",
    ),
    "a value for a table": ('device = "cpu"', "evaluate = 3", "[evaluate]: write it as a table, like [evaluate]."),
    "a missing key": ('[[train]]\nrun = "resnet"\n', "[[train]]\n", "[train] number 2: the key 'run' is missing."),
    "a name of a run": ('run = "resnet"', 'run = "res/net"', "'res/net' cannot be the name of a run"),
    "no data": ('name = "digits"', "", "[train]: a training needs images: add a table [data] with a name"),
    "no fit": (
        '[fit-lambda]\nnoise = ["gaussian", "pooled"]\ngrid = [\n  0.1,\n  0.2,\n]\n',
        "",
        "lambda of [sweep]: an adaptive lambda needs a lambda fit: add the table [fit-lambda].",
    ),
    "no blind fit": (
        'lambda = ["train", "adaptive"]\n',
        'lambda = ["train", "blind"]\n',
        "lambda of [sweep]: the policy blind needs a blind lambda fit: add the table [fit-lambda] with "
        'noise = "blind".',
    ),
    "no fit in a precision": (
        "severities = [1, 5]\n",
        'severities = [1, 5]\nprecision = "bf16"\n',
        'lambda of [sweep]: an adaptive lambda needs a lambda fit: add the table [fit-lambda] with precision = "bf16".',
    ),
}
#: How the line begins that is told, where it is not that of the changed text.
BLAMED = {
    "a list": "grid",
    "options": "model-option",
    "a choice": "device",
    "a policy": "lambda",
    "a noise": "noise",
    "a suite": "suite",
    "an attack": "attack =",
    "a setting": "attack =",
    "a budget": "epsilon",
    "grey levels": "epsilon",
    "a transfer": "from",
    "a model": 'run = "nowhere"',
    "weights": "weights",
    "a name of a run": "[[train]]",
    "no data": "[[train]]",
    "no fit": "lambda",
    "no fit in a precision": "lambda",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_file_line_and_field(name: str, place: Path) -> None:
    right, wrong, sentence = MISTAKES[name]
    assert right in TEXT
    text = TEXT.replace(right, wrong, 1)
    if name == "a transfer":
        text = text.replace('suite = "standard"\n', "")
    with pytest.raises(ExperimentError) as told:
        read(text)
    begins = BLAMED.get(name, wrong.splitlines()[-1] if wrong else "")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.startswith(begins)]
    number = lines[-1] if "number 2" in str(told.value) else lines[0]
    assert str(told.value).startswith(f"mine.toml, line {number}, ")
    assert sentence in str(told.value)
    assert str(told.value).endswith((".", "?"))


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("[report", "the name of a table stands in [ ], or [[ ]] if there are several of its kind."),
        ("title = mine", 'a value stands behind =, and text in quotes, as in KEY = "text".'),
        ("title", 'a key has a value behind =, as in KEY = "text".'),
        ("runs = [1 2]", "a list ends with ], and has commas between its values."),
        ('title = "mine', "text ends with the quote that it began with, on the same line."),
        ("title = 1 2", "one line has one value, and text stands in quotes."),
        ("= 3", 'write KEY = VALUE, with text in quotes and lists in [ ], as in KEY = ["a", "b"].'),
    ],
)
def test_what_is_no_toml_is_told(written: str, remedy: str, place: Path) -> None:
    with pytest.raises(ExperimentError) as told:
        read(TEXT.replace("[report]", f"{written}\n[report]"))
    assert str(told.value) == f"mine.toml, line 41: {written!r} is not valid TOML: {remedy}"


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ("epochs = 2", "epochs = 2\nepochs = 3", "line 12: the key 'epochs' stands there twice: keep one."),
        ("  0.2,\n]", "  0.2,\n]\ngrid = [\n  1.0,\n]", "line 24: the key 'grid' stands there twice: keep one."),
        ("{atoms = 8}", "{atoms = 8, atoms = 9}", "line 10: the key 'atoms' stands there twice: keep one."),
        (
            "[[attack]]",
            "[sweep]\n[[attack]]",
            "line 30: the table [sweep] stands there twice: write [[sweep]] above each.",
        ),
        ("[sweep]", "[[sweep]]\n[sweep]", "line 26: the table [sweep] stands there twice: write [[sweep]] above each."),
        ("[sweep]", "[sweep]\n[[sweep]]", "line 26: the table [sweep] stands there twice: write [[sweep]] above each."),
        ("[uap]", "[data]\n[uap]", "line 38: the table [data] stands there twice: keep one."),
    ],
)
def test_what_stands_twice_is_named(right: str, wrong: str, sentence: str, place: Path) -> None:
    with pytest.raises(ExperimentError) as told:
        read(TEXT.replace(right, wrong, 1))
    assert str(told.value) == f"mine.toml, {sentence}"


def test_without_a_model_there_is_no_experiment(place: Path) -> None:
    with pytest.raises(ExperimentError, match=r"line 1, model: no model is named: add a table \[train\] or \[model\]."):
        read('[sweep]\ncorruptions = "noise"\n')


def test_a_file_that_is_not_there_is_told(place: Path) -> None:
    with pytest.raises(ExperimentError, match=r"nothing.toml cannot be read \(No such file .*--example"):
        read_experiment(Path("nothing.toml"))


def test_the_example_is_read_without_pytorch(place: Path) -> None:
    Path("example.toml").write_text(example_text())
    code = (
        "import sys\nfrom pathlib import Path\nfrom robustcsc.experiments.reading import read_experiment\n"
        "read_experiment(Path('example.toml'))\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
