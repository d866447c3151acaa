"""What a user can get wrong: one sentence on standard error, exit code 2, and nothing is written."""

import errno
import json
import os
import pickle
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from robustcsc.runs import Run

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]
Contents = Callable[[], dict[str, bytes | None]]


@pytest.fixture
def refused(robustcsc: Command, contents: Contents) -> Callable[..., str]:
    """Runs a command that has to be refused and returns its sentence."""

    def run(*typed: str) -> str:
        before = contents()
        done = robustcsc(*typed)
        assert done.code == 2, done
        assert done.out == ""
        *notes, sentence = done.err.splitlines()
        assert sentence.startswith("Error: "), done.err
        assert sentence.endswith((".", "?"))
        assert not any("Traceback" in line for line in notes)
        assert contents() == before
        return str(sentence.removeprefix("Error: "))

    return run


Refused = Callable[..., str]

WRONG_ANYWHERE = {
    "unknown model": ("train sdnet-digit", "Unknown model 'sdnet-digit': did you mean 'sdnet-digits'?"),
    "unknown data set to train on": ("train sdnet-digits --data digit", "Unknown data set 'digit'"),
    "unknown recipe": ("train sdnet-digits --recipe cifar", "Unknown recipe 'cifar': "),
    "unknown builder option": ("train sdnet-digits --model-option atom=3", "did you mean 'atoms'?"),
    "builder option without a value": (
        "train sdnet-digits --model-option atoms",
        "--model-option 'atoms': write KEY=VALUE",
    ),
    "learning rate below zero": ("train sdnet-digits --learning-rate -1", "a learning rate is a number above 0"),
    "budget without an adversary": ("train sdnet-digits --epsilon 0.1", "add --adversarial pgd-7 or fgsm"),
    "budget in grey values": ("train sdnet-digits --adversarial fgsm --epsilon 8", "did you mean 8/255?"),
    "training data without its folder": ("train sdnet20 --data cifar10", "No folder of cifar10 is known"),
    "training data in no folder": ("train sdnet20 --data imagefolder --root nowhere", "nowhere is not a folder"),
    "name that is no file name": ("train sdnet-digits --run a/b", "'a/b' cannot be the name of a run"),
    "name that is a path": ("train sdnet-digits --run /tmp/a", "cannot be the name of a run"),
    "name of the folder above": ("train sdnet-digits --run ..", "'..' cannot be the name of a run"),
    "factory that is not there": ("train nowhere:model --run own", "Cannot import 'nowhere:model'"),
    "factory that makes no module": ("train collections:OrderedDict --run own", "it must return an nn.Module"),
    "GPU that is not there": ("train sdnet-digits --device cuda", "no usable CUDA device: use --device cpu."),
    "GPU that is not there, to measure": ("evaluate --device cuda", "no usable CUDA device: use --device cpu."),
    "unknown data set": ("evaluate --data cifar", "Unknown data set 'cifar': did you mean 'cifar10'?"),
    "data without its folder": ("evaluate --data cifar10", "No folder of cifar10 is known"),
    "data in no folder": ("evaluate --data imagefolder --root nowhere", "nowhere is not a folder"),
    "unknown policy": ("evaluate --lambda adaptiv", "Unknown lambda policy 'adaptiv': did you mean 'adaptive'?"),
    "lambda below zero": ("evaluate --lambda fixed=-1", "is no lambda: write a number of at least 0"),
    "lambda in words": ("evaluate --lambda fixed=much", "'fixed=much' is no lambda"),
    "unknown corruption": ("sweep --corruptions fogg", "Unknown corruption 'fogg': "),
    "severity 0": ("sweep --severities 0", "severities go from 1 to 5"),
    "severity 6": ("sweep --severities 6", "severities go from 1 to 5"),
    "unknown severity table": ("sweep --spec cifar10", "Unknown severity table 'cifar10': did you mean 'cifar10_c'?"),
    "severity table that is not there": ("sweep --spec own.toml", "own.toml cannot be read"),
    "published files in no folder": ("sweep --corrupted-root nowhere", "nowhere is not a folder"),
    "unknown noise": ("fit-lambda --noise gausian", "Unknown noise 'gausian': did you mean 'gaussian'?"),
    "grid of one lambda": ("fit-lambda --grid 0.1", "two different lambdas"),
    "grid of words": ("fit-lambda --grid many", "'many' is no list of numbers"),
    "negative budget": ("attack --epsilon -0.1", "'-0.1' is no attack budget"),
    "budget in words": ("attack --epsilon much", "'much' is no attack budget"),
    "budget in grey levels": ("attack --epsilon 5", "did you mean 5/255?"),
    "step of nothing": ("attack --step-size 0", "A step size of 0 moves no image"),
    "unknown protocol": ("attack --protocols transfr", "Unknown attack protocol 'transfr': did you mean 'transfer'?"),
    "transfer from nothing": ("attack --protocols transfer", "The protocol transfer needs a run to craft on"),
    "transfer from a run that is not there": ("attack --from first", "No run 'first'"),
    "transfer from itself": ("attack --from sdnet-textures", "names the same weights"),
    "transfer from other images": ("attack --from resnet20-cifar10-jpeg", "was made for other images"),
    "unknown attack": ("attack --attack pgd,squar", "Unknown attack 'squar': did you mean 'square'?"),
    "no attack": ("attack --attack ,", "--attack is empty"),
    "attack of another norm": ("attack --attack cw", "The attack cw supports l2, not linf"),
    "setting of another attack": ("attack --attack square --steps 3", "--steps is a setting of pgd, apgd, apgd-t, "),
    "restarts of nothing random": ("attack --attack fgsm --restarts 2", "Restarts of fgsm would all be the same"),
    "unknown suite": ("attack --suite papers", "Unknown suite 'papers': did you mean 'paper'?"),
    "settings of a suite": ("attack --suite paper --steps 3", "--steps belongs to --pgd and --attack, not to --suite"),
    "transfer suite without transfer": ("attack --suite paper --from resnet-digits", "No run 'resnet-digits'"),
    "several budgets to save": ("attack --epsilon 0.1,0.2 --save a", "--save keeps the images of one attack at one"),
    "several protocols to save": (
        "attack --attack square --protocols plain,black-box --save a",
        "--save keeps the images of one protocol",
    ),
    "gradients in a black box": ("attack --protocols black-box", "The protocol black-box is without gradients"),
    "no protocol": ("attack --protocols ,", "--protocols is empty"),
    "lambdas in words": ("attack --protocols fixed --lambdas many", "--lambdas 'many' is no list of numbers"),
    "setting that an attack lacks": ("attack --attack fgsm:steps=3", "fgsm has no setting 'steps': it has none."),
    "setting in words": ("attack --attack pgd:steps=few", "steps=few of the attack pgd is no number"),
    "lambda of an attack": ("attack --lambda oracle", "--lambda belongs to --score, not to --pgd"),
    "nothing to score": ("attack --score nowhere.safetensors", "There is no file nowhere.safetensors"),
    "budgets to search in": ("attack --min-epsilon --epsilon 0.1,0.2", "--min-epsilon searches up to one budget"),
    "search with steps of one size": ("attack --min-epsilon --step-size 0.1", "leave --step-size out"),
    "search with steps of one size, behind a colon": ("attack --min-epsilon --attack pgd:step-size=0.1", "--step-size"),
    "search in turn": ("attack --min-epsilon --in-turn --attack fgsm,pgd", "leave --in-turn out"),
    "search to save": ("attack --min-epsilon --save a", "--min-epsilon keeps no images"),
    "search in a black box": ("attack --min-epsilon --protocols black-box", "--min-epsilon goes with the protocols"),
    "model without weights": ("evaluate --model sdnet-digits", "need both --model NAME and --weights FILE"),
    "weights without a model": ("attack --weights a.pth", "need both --model NAME and --weights FILE"),
    "weights that are nowhere": ("evaluate --model resnet-digits --weights a.pth", "There are no weights at a.pth"),
    "weights that are not there": ("evaluate --model resnet-digits --weights a.pth --data digits", "no weights at"),
    "run that is not there": ("evaluate --run first", "No run 'first' in runs: choose one of sdnet-textures, "),
    "report on a run that is not there": ("report first", "No run 'first': there are no runs in runs yet"),
    "strengths of an unknown table": ("corruptions cifar_c", "Unknown severity table 'cifar_c'"),
}  # fmt: skip


@pytest.mark.parametrize(("typed", "expected"), WRONG_ANYWHERE.values(), ids=WRONG_ANYWHERE)
def test_in_an_empty_directory_nothing_is_made(typed: str, expected: str, refused: Refused, place: Path) -> None:
    if "cuda" in typed and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert expected in refused(typed)
    assert list(place.iterdir()) == []


WRONG_FOR_A_RUN = {
    "adaptive lambda without a fit": ("evaluate --run sdnet --lambda adaptive", "`robustcsc fit-lambda --run sdnet`"),
    "adaptive attack without a fit": ("attack --run sdnet --protocols adaptive", "`robustcsc fit-lambda --run sdnet`"),
    "adaptive lambda of a ResNet": ("sweep --run resnet --lambda adaptive", "resnet-digits has no CSC layer"),
    "adaptive attack on a ResNet": ("attack --run resnet --protocols static", "resnet-digits has no CSC layer"),
    "lambda fit of a ResNet": ("fit-lambda --run resnet", "resnet-digits has no CSC layer"),
    "name of a run that is close": ("evaluate --run sdnett", "did you mean 'sdnet'?"),
    "training over weights": ("train sdnet-digits --run sdnet", "has trained weights already"),
    "run without results": ("report sdnet", "Run 'sdnet' has no results to report yet"),
    "weights for another model": (
        "evaluate --model resnet-digits --weights runs/sdnet/weights.safetensors --data digits",
        "weights of another architecture",
    ),
    "weights into a run that has others": (
        "evaluate --run sdnet --model resnet-digits --weights runs/resnet/weights.safetensors --data digits",
        "The run 'sdnet' holds other weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("typed", "expected"), WRONG_FOR_A_RUN.values(), ids=WRONG_FOR_A_RUN)
def test_runs_are_left_as_they_are(typed: str, expected: str, refused: Refused, make_run: MakeRun) -> None:
    make_run("sdnet", "sdnet-digits")
    make_run("resnet", "resnet-digits")
    assert expected in refused(typed)


class Bomb:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_pickled_weights_are_never_executed(name: str, refused: Refused, place: Path) -> None:
    (place / name).write_bytes(pickle.dumps({"weight": Bomb()}))
    assert name in refused(f"evaluate --model resnet-digits --weights {name} --data digits")
    assert not (place / "exploded").exists()


@pytest.mark.parametrize("kept", [0, 5, 3000])
def test_damaged_weights_of_a_run_are_reported(kept: int, refused: Refused, make_run: MakeRun) -> None:
    run = make_run("sdnet", "sdnet-digits")
    run.weights_path.write_bytes(run.weights_path.read_bytes()[:kept])
    assert "weights.safetensors is not a safetensors checkpoint" in refused("evaluate")


def test_weights_of_unknown_origin_need_a_model(refused: Refused, make_run: MakeRun) -> None:
    from safetensors.torch import save_file

    run = make_run("sdnet", "sdnet-digits")
    save_file({"weight": torch.zeros(1)}, run.weights_path)
    assert "does not say which model it is for" in refused("evaluate")


def test_training_that_was_interrupted_is_not_started_over(refused: Refused, make_run: MakeRun) -> None:
    run = make_run("sdnet", "sdnet-digits")
    run.weights_path.rename(run.training_path)
    assert "was interrupted: add --resume" in refused("train sdnet-digits --run sdnet")
    assert "'sdnet' has no weights yet: finish its training" in refused("evaluate")
    assert "training.pt cannot be read: delete it" in refused("train sdnet-digits --run sdnet --resume")


def test_training_is_not_resumed_with_other_settings(robustcsc: Command, refused: Refused) -> None:
    assert robustcsc("train sdnet-digits --epochs 1 --run first").code == 0
    sentence = refused("train sdnet-digits --epochs 2 --run first --resume")
    assert "belongs to a training run with another model, data, recipe or seed" in sentence


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"levels": 1, "lines": 2}'])
def test_damaged_lambda_fit_is_reported(content: str, robustcsc: Command, refused: Refused, make_run: MakeRun) -> None:
    run = make_run("sdnet", "sdnet-digits")
    assert robustcsc("evaluate --limit 8").code == 0
    path = run.fit_path("gaussian")
    path.parent.mkdir()
    path.write_text(content)
    for typed in ("evaluate", "report"):
        assert "gaussian.json is damaged or of another version" in refused(typed)


def test_store_of_a_newer_version_is_left_alone(robustcsc: Command, refused: Refused, make_run: MakeRun) -> None:
    run = make_run("sdnet", "sdnet-digits")
    assert robustcsc("evaluate --limit 8").code == 0
    with sqlite3.connect(run.store_path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for typed in ("evaluate --limit 8", "report"):
        assert "was written by a newer robustcsc (store version 99" in refused(typed)


def test_store_that_is_no_store_is_left_alone(refused: Refused, make_run: MakeRun) -> None:
    make_run("sdnet", "sdnet-digits").store_path.write_bytes(b"no database" * 100)
    for typed in ("evaluate --limit 8", "report"):
        assert "is damaged or no result store" in refused(typed)


@pytest.mark.parametrize(
    "typed", ["train sdnet-digits --epochs 1", "evaluate", "fit-lambda", "attack", "report", "quickstart"]
)
def test_file_in_the_place_of_the_runs_is_reported(typed: str, refused: Refused, place: Path) -> None:
    (place / "runs").write_text("not a folder")
    assert refused(typed).startswith(("The folder of runs runs cannot be read", "The run folder runs"))


@pytest.fixture
def no_file_is_finished(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets every file fail with an error number once it is written but not yet in its place."""

    def fail_with(number: int) -> None:
        def fail(self: Path, target: str | Path) -> NoReturn:
            raise OSError(number, os.strerror(number), str(target))

        monkeypatch.setattr(Path, "replace", fail)

    return fail_with


@pytest.mark.parametrize(
    ("number", "beginning"),
    [(errno.ENOSPC, "No space is left on the disk"), (errno.EROFS, "The file system is read-only")],
)
@pytest.mark.parametrize(
    "typed", ["train resnet-digits --epochs 1", "evaluate --limit 8", "fit-lambda --limit 4 --grid 0.1,1"]
)
def test_disk_that_cannot_be_written_is_reported_and_nothing_half_written_is_left(
    typed: str, number: int, beginning: str, no_file_is_finished: Callable[[int], None], refused: Refused
) -> None:
    no_file_is_finished(number)
    assert refused(typed).startswith(beginning)


def test_disk_that_fills_up_while_a_fit_is_kept_leaves_the_run_as_it_was(
    no_file_is_finished: Callable[[int], None], refused: Refused, make_run: MakeRun
) -> None:
    make_run("sdnet", "sdnet-digits")
    no_file_is_finished(errno.ENOSPC)
    assert refused("fit-lambda --limit 4 --grid 0.1,1").startswith("No space is left on the disk")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit the size of files")
@pytest.mark.parametrize("typed", ["train resnet-digits --epochs 1", "evaluate --limit 8"])
def test_file_that_cannot_be_finished_is_reported_and_leaves_nothing(typed: str, refused: Refused) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # the weights have 80 kB and more
    try:
        assert refused(typed).startswith("A file is larger than is allowed here")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def image(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), shade, np.uint8)).save(path)


@pytest.fixture
def folder_of_ten(place: Path) -> Path:
    """An image folder with ten classes, as the digits have, of two grey images each."""
    for shade in range(10):
        for number in range(2):
            image(place / f"images/test/{shade}/{number}.png", 20 * shade + number)
    return place / "images"


def test_class_without_images_is_reported(refused: Refused, make_run: MakeRun, folder_of_ten: Path) -> None:
    make_run("sdnet", "sdnet-digits")
    (folder_of_ten / "test" / "5" / "0.png").unlink()
    (folder_of_ten / "test" / "5" / "1.png").unlink()
    assert "class folder images/test/5 has no images" in refused("evaluate --data imagefolder --root images")


def test_folder_without_readable_images_is_reported(refused: Refused, make_run: MakeRun, folder_of_ten: Path) -> None:
    make_run("sdnet", "sdnet-digits")
    for path in folder_of_ten.glob("test/*/*.png"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refused("evaluate --data imagefolder --root images")
    assert "None of the 20 images that were asked for in images/test can be read" in message


def test_images_of_another_shape_or_number_of_classes_are_reported(
    refused: Refused, make_run: MakeRun, place: Path
) -> None:
    make_run("sdnet", "sdnet-digits")
    image(place / "images/test/a/0.png", 3)
    image(place / "images/test/b/0.png", 4)
    sentence = refused("evaluate --data imagefolder --root images")
    assert "made for images of 1x8x8 pixels in 10 classes, but images has 1x8x8 pixels in 2 classes" in sentence


def test_unreadable_images_are_named_and_the_others_measured(
    robustcsc: Command, make_run: MakeRun, folder_of_ten: Path
) -> None:
    make_run("sdnet", "sdnet-digits")
    for shade in range(7):
        (folder_of_ten / "test" / str(shade) / "1.png").write_bytes(b"no image")
    for typed in ("evaluate", "sweep --corruptions gaussian_noise --severities 1", "attack --steps 1"):
        done = robustcsc(f"{typed} --data imagefolder --root images --readers 1 --json")
        assert done.code == 0
        assert {row["total"] for row in json.loads(done.out)} == {13}
        named = ", ".join(f"images/test/{shade}/1.png" for shade in range(5))
        assert f"7 unreadable files were left out: {named} and 2 more." in done.err


def test_published_files_that_are_missing_are_reported_before_anything_is_measured(
    refused: Refused, make_run: MakeRun, place: Path
) -> None:
    make_run("sdnet", "sdnet-digits")
    (place / "official").mkdir()
    sentence = refused("sweep --corruptions noise --corrupted-root official")
    assert "official holds no corruptions: they must lie in NAME.npy" in sentence


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[benchmark", "is not valid TOML"),
        ("[fog]\nkernel = 1", "write a table [benchmark]"),
        ("\0", "is not valid TOML"),
    ],
)
def test_severity_table_that_is_not_valid_is_reported(
    content: str, expected: str, refused: Refused, place: Path
) -> None:
    (place / "own.toml").write_text(content)
    for typed in ("sweep --spec own.toml", "fit-lambda --spec own.toml", "corruptions own.toml"):
        assert expected in refused(typed)


def test_report_does_not_replace_foreign_files(
    robustcsc: Command, refused: Refused, make_run: MakeRun, place: Path
) -> None:
    make_run("sdnet", "sdnet-digits")
    assert robustcsc("evaluate --limit 8").code == 0
    (place / "mine").mkdir()
    (place / "mine" / "thesis.tex").write_text("years of work")
    assert "which holds 'thesis.tex' and was not written by a report" in refused("report --out mine")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("attakc", "Unknown command of robustcsc 'attakc': did you mean 'attack'?"),
        ("data corupt", "Unknown command of robustcsc data 'corupt': did you mean 'corrupt'?"),
        ("inspect picture", "Unknown command of robustcsc inspect 'picture': choose one of atoms, classifier, codes"),
        ("evaluate --limits 3", "Unknown option '--limits' of robustcsc evaluate: did you mean '--limit'?"),
        ("sweep -x", "Unknown option '-x' of robustcsc sweep: `robustcsc sweep --help` shows what there is."),
        ("uap --test-time bn", "Unknown option '--test-time' of robustcsc uap: it is one of evaluate, sweep, attack."),
        ("--json sweep", "Unknown option '--json' of robustcsc: write it behind the command."),
        ("sweep mine", "robustcsc sweep does not take 'mine': did you mean --run mine?"),
        ("models all", "robustcsc models does not take 'all': leave it out."),
        ("sweep --limit", "Option '--limit' requires an argument."),
        ("evaluate --remeasure=3", "Option '--remeasure' does not take a value."),
        ("train", "robustcsc train needs MODEL: A name from `robustcsc models`, or package.module:factory."),
        ("compare", "robustcsc compare needs RUN RUN...: The runs, two at least."),
    ],
)
def test_wrong_usage_is_one_sentence(typed: str, sentence: str, refused: Refused, robustcsc: Command) -> None:
    assert refused(typed).startswith(sentence)
    assert robustcsc(typed).err.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("attack --pgd linff", "Unknown word 'linff' of --pgd: did you mean 'linf'?"),
        ("attack --pgd l3", "Unknown word 'l3' of --pgd: choose one of linf, l2."),
        ("leaderboard --by robst", "Unknown word 'robst' of --by: did you mean 'robust'?"),
        ("evaluate --device gpu", "Unknown word 'gpu' of --device: did you mean 'cuda'?"),
        ("fit-lambda --limit x", "--limit needs a whole number of at least 2, not 'x'."),
        ("sweep --limit 0", "--limit needs a whole number of at least 1, not '0'."),
        ("train sdnet-digits --epochs 0", "--epochs needs a whole number of at least 1, not '0'."),
        ("train sdnet-digits --learning-rate x", "--learning-rate needs a number, not 'x'."),
        ("report --examples 51", "--examples needs a whole number of at least 1 and at most 50, not '51'."),
        ("report --baseline alexnt", "did you mean 'alexnet'?"),
    ],
)
def test_a_value_that_an_option_does_not_take_is_one_sentence(typed: str, sentence: str, refused: Refused) -> None:
    assert refused(typed).endswith(sentence)
