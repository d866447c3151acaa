from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from robustcsc.cli import main as cli_main
from robustcsc.cli import options
from robustcsc.errors import RobustCSCError


@pytest.mark.parametrize(
    ("text", "severities"),
    [
        ("1-5", (1, 2, 3, 4, 5)),
        ("1,3,5", (1, 3, 5)),
        ("3", (3,)),
        ("5,1", (1, 5)),
        ("2-3,3-4", (2, 3, 4)),
        (" 1, 4-5 ", (1, 4, 5)),
        ("2-2", (2,)),
    ],
)
def test_severities_are_read_as_typed(text: str, severities: tuple[int, ...]) -> None:
    assert options.SeverityTuple.parse(text) == severities


@pytest.mark.parametrize(
    "text", ["0", "6", "0-5", "1-6", "5-1", "1-", "-1", "", "1,,2", "1;2", "all", "1.5", "12", "٣"]
)
def test_severities_outside_1_to_5_are_refused(text: str) -> None:
    with pytest.raises(RobustCSCError, match=r"severities go from 1 to 5, typed like 1-5 or 1,3,5\.$"):
        options.SeverityTuple.parse(text)


@pytest.mark.parametrize("text", ["1-5", "1,3,5", "2,3", "4", "2-4", "1,2,4,5"])
def test_severities_print_as_they_are_typed(text: str) -> None:
    assert str(options.SeverityTuple.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("train,adaptive", ("train", "adaptive")),
        (" adaptive , train ", ("adaptive", "train")),
        ("train,train", ("train",)),
        ("train,", ("train",)),
        ("", ()),
    ],
)
def test_lists_keep_their_order_and_repeat_nothing(text: str, listed: tuple[str, ...]) -> None:
    assert options.words(text) == listed


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.1,0.5,1", (0.1, 0.5, 1.0)),
        ("0.1:0.5:0.1", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("1:1:0.5", (1.0,)),
        ("0:1:0.5", (0.0, 0.5, 1.0)),
        ("1/31,8/255,0.5/255", (1 / 31, 8 / 255, 0.5 / 255)),
    ],
)
def test_numbers_are_read_as_typed(text: str, numbers: tuple[float, ...]) -> None:
    assert options.numbers("--rho", text) == numbers


@pytest.mark.parametrize(
    "text", ["a", "0.1;0.2", "1:2", "1:2:0", "2:1:0.1", "1:2:-1", "0:1:0.00001", "0:inf:1", ",", "1/0"]
)
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(options.OptionError, match=r"^--grid .*write 0\.1,0\.5,1 or FIRST:LAST:STEP"):
        options.numbers("--grid", text)


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, dict[str, object]]]:
    """Runs a command that has all shared options; returns the exit code and the values it received."""
    received: dict[str, object] = {}
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def measure(
        run: options.Run = None,
        data: options.Data = None,
        root: options.Root = None,
        download: options.Download = False,
        limit: options.Limit = None,
        device: options.Device = "auto",
        batch_size: options.BatchSize = 256,
        seed: options.Seed = 0,
        json: options.Json = False,
        spec: options.Spec = None,
        severities: options.Severities = options.ALL_SEVERITIES,
        corruptions: options.Corruptions = "standard",
        policies: options.LambdaPolicies = "",
    ) -> None:
        received.update({name: value for name, value in locals().items() if name != "received"})

    monkeypatch.setattr(cli_main, "app", app)

    def run(*arguments: str) -> tuple[int, dict[str, object]]:
        return cli_main.main(arguments), received

    return run


Runner = Annotated[Callable[..., tuple[int, dict[str, object]]], "see run_command"]


def test_defaults_reach_the_command_unchanged(run_command: Runner) -> None:
    code, received = run_command()
    assert code == 0
    shown = {name: received[name] for name in ("run", "root", "limit", "device", "batch_size", "seed", "json")}
    assert shown == {
        "run": None, "root": None, "limit": None, "device": "auto", "batch_size": 256, "seed": 0,
        "json": False,
    }  # fmt: skip
    assert received["severities"] == (1, 2, 3, 4, 5)
    assert received["policies"] == ""


def test_options_reach_the_command_as_typed(run_command: Runner) -> None:
    typed = (
        "--run first --data digits --root data --download --limit 8 --device cpu --batch-size 4 --seed 3 "
        "--json --spec cifar10_c --severities 1,3-4 --corruptions noise --lambda oracle,fixed=0.7"
    )
    code, received = run_command(*typed.split())
    assert code == 0
    assert received == {
        "run": "first", "data": "digits", "root": Path("data"), "download": True, "limit": 8, "device": "cpu",
        "batch_size": 4, "seed": 3, "json": True, "spec": "cifar10_c", "severities": (1, 3, 4),
        "corruptions": "noise", "policies": "oracle,fixed=0.7",
    }  # fmt: skip


@pytest.mark.parametrize("severities", ["0", "6", "1-6"])
def test_wrong_severity_on_the_command_line_is_one_sentence_and_code_2(
    severities: str, run_command: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    code, received = run_command("--severities", severities)
    assert (code, received) == (2, {})
    sentence = f"--severities '{severities}': severities go from 1 to 5, typed like 1-5 or 1,3,5."
    assert capsys.readouterr() == ("", f"Error: {sentence}\n")


@pytest.mark.parametrize("typed", ["--device gpu", "--limit 0", "--batch-size 0", "--seed -1", "--limit many"])
def test_wrong_values_end_with_2_and_run_nothing(typed: str, run_command: Runner) -> None:
    assert run_command(*typed.split()) == (2, {})


def test_help_shows_the_defaults(
    run_command: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run_command("--help")[0] == 0
    text = capsys.readouterr().out
    assert "[default: 1, 2, 3, 4, 5]" in text
    assert "By default train, and adaptive and blind if there are fits." in " ".join(text.replace("│", " ").split())


def test_a_lambda_per_layer_stands_between_other_policies() -> None:
    found = ("train", "fixed=0.3,0.1, .1", "fixed=0.5", "oracle")
    assert options.policies("train,fixed=0.3,0.1, .1,,fixed=0.5,oracle,train") == found
    with pytest.raises(RobustCSCError, match="--lambda is empty"):
        options.policies(" , ")


def test_a_noise_may_be_called_like_its_corruption() -> None:
    assert options.noises("gaussian_noise,shot,impulse_noise") == ("gaussian", "shot", "impulse")
