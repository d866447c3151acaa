"""`robustcsc data` and `robustcsc data corrupt`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustcsc.runs import Run

pytestmark = pytest.mark.usefixtures("undrawn")

Command = Callable[..., Any]
MakeRun = Callable[[str, str], Run]
Contents = Callable[[], dict[str, bytes | None]]
CORRUPT = "data corrupt --data digits --corruptions gaussian_noise --out files"


@pytest.fixture
def images(place: Path) -> Path:
    """An image folder of ten classes with two smooth 16x16 colour images each."""
    height, width = np.mgrid[0:16, 0:16]
    for label in range(10):
        for number in range(2):
            path = place / f"images/test/{label}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.stack((15 * height, 15 * width, 20 * label + number + 0 * height), axis=2)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return place / "images"


def test_arrays_give_the_counts_of_the_sweep_that_is_truncated(
    few_digits: None, robustcsc: Command, make_run: MakeRun, place: Path
) -> None:
    make_run("sdnet", "sdnet-digits")
    done = robustcsc("data corrupt --data digits --corruptions noise --seed 5 --out made/files --json")
    assert done.code == 0
    written = json.loads(done.out)
    assert written["folder"] == "made/files"
    assert [Path(path).name for path in written["paths"]][:2] == ["gaussian_noise.npy", "shot_noise.npy"]
    assert np.load(place / written["paths"][0]).shape == (100, 8, 8, 1)
    counts = []
    for source in ("--seed 5", "--corrupted-root made/files --seed 6"):
        rows = json.loads(robustcsc(f"sweep --corruptions noise {source} --json").out)
        counts.append([(row.get("name"), row.get("severity"), row["met"], row["lambda"]) for row in rows])
    assert len(counts[0]) == 21
    assert counts[0] == counts[1]


def test_a_part_of_a_data_set_is_read_with_the_same_limit(robustcsc: Command, make_run: MakeRun) -> None:
    make_run("sdnet", "sdnet-digits")
    assert robustcsc(f"{CORRUPT} --limit 8").out == "files/gaussian_noise.npy\n"
    sweep = "sweep --corruptions gaussian_noise --corrupted-root files --json"
    assert {row["total"] for row in json.loads(robustcsc(f"{sweep} --limit 8").out)} == {8}
    done = robustcsc(sweep)
    assert (done.code, done.out) == (2, "")
    assert "files was exported for 8 chosen images of digits: take the same ones, with the same --limit." in done.err


def test_trees_keep_classes_and_names(robustcsc: Command, images: Path, place: Path) -> None:
    typed = "data corrupt --data imagefolder --root images --format imagenet-c --corruptions shot_noise --out files"
    done = robustcsc(f"{typed} --severities 2,4")
    assert done.out.splitlines() == ["files/shot_noise/2", "files/shot_noise/4"]
    with Image.open(place / "files/shot_noise/4/7/1.JPEG") as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (16, 16), "RGB")
    assert len(list((place / "files/shot_noise").rglob("*.JPEG"))) == 40


def test_large_images_take_the_form_and_table_of_imagenet_c(robustcsc: Command, place: Path) -> None:
    path = place / "images" / "a" / "one.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((100, 120, 3), np.uint8)).save(path)
    typed = "data corrupt --data imagefolder --root images --image-size 96 --severities 1 --corruptions gaussian_noise"
    assert robustcsc(f"{typed} --out files").out == "files/gaussian_noise/1\n"
    with Image.open(place / "files/gaussian_noise/1/a/one.JPEG") as image:
        assert image.size == (96, 96)
    assert json.loads((place / "files/robustcsc.json").read_text())["table"]["name"] == "imagenet_c"


def test_an_interrupted_command_is_resumed(
    few_digits: None, robustcsc: Command, place: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustcsc.corruptions import corrupt

    calls: list[str] = []

    def interrupted(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments[2])
        if len(calls) == 8:
            raise KeyboardInterrupt
        return corrupt(*arguments, **named)

    typed = "data corrupt --data digits --corruptions noise --out files"
    with monkeypatch.context() as patched:
        patched.setattr("robustcsc.corruptions.export.corrupt", interrupted)
        assert robustcsc(typed).code == 130
    assert sorted(contents()) == ["files", "files/gaussian_noise.npy", "files/labels.npy", "files/robustcsc.json"]
    done = robustcsc(typed)
    assert (done.code, len(done.out.splitlines())) == (0, 4)
    whole = contents()
    assert robustcsc(typed).code == 0  # and once more
    assert contents() == whole


WRONG = {
    "no folder to write to": ("data corrupt --data digits", "--out"),
    "no data set": ("data corrupt --out files", "--data"),
    "unknown form": ("data corrupt --data digits --out files --format cifar", "--format"),
    "unknown data set": ("data corrupt --data digit --out files", "Unknown data set 'digit'"),
    "data without its folder": ("data corrupt --data cifar10 --out files", "No folder of cifar10 is known"),
    "unknown corruption": (f"{CORRUPT} --corruptions fogg", "Unknown corruption 'fogg'"),
    "unknown table": (f"{CORRUPT} --spec cifar_c", "Unknown severity table 'cifar_c'"),
    "severity 6": (f"{CORRUPT} --severities 6", "severities go from 1 to 5"),
    "three severities in an array": (f"{CORRUPT} --severities 1-3", "holds all five severities in one file"),
    "tree without names": (f"{CORRUPT} --format imagenet-c", "digits has no file names"),
    "below a file": (f"{CORRUPT}/below", "--out files/below cannot be written to (files is a file): choose"),
    "in the place of a file": (CORRUPT, "--out files cannot be written to (files is a file): choose another"),
}  # fmt: skip


@pytest.mark.parametrize(("typed", "expected"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_written_is_told_and_nothing_is_made(
    typed: str, expected: str, robustcsc: Command, place: Path, contents: Contents
) -> None:
    if "cannot be written" in expected:
        (place / "files").write_text("not a folder")
    before = contents()
    done = robustcsc(typed)
    assert (done.code, done.out) == (2, "")
    assert expected in done.err
    assert "Traceback" not in done.err
    assert contents() == before


def test_another_seed_in_the_same_folder_is_refused(few_digits: None, robustcsc: Command, contents: Contents) -> None:
    assert robustcsc(CORRUPT).code == 0
    before = contents()
    for change, expected in (
        ("--seed 1", "seed 0, not 1"),
        ("--limit 10", "images '"),
        ("--spec imagenet_c", "table "),
    ):
        done = robustcsc(f"{CORRUPT} {change}")
        assert (done.code, done.out) == (2, "")
        assert f"Error: files holds images exported with {expected}" in done.err
    assert contents() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit the size of files")
def test_a_file_that_cannot_be_finished_leaves_nothing(few_digits: None, robustcsc: Command, place: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, limits[1]))  # the array has 6,528 bytes
    try:
        done = robustcsc(CORRUPT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.code == 2
    assert done.err.startswith("Error: A file is larger than is allowed here")
    assert list(place.iterdir()) == []


def test_a_table_of_ones_own_is_taken_everywhere(few_digits: None, robustcsc: Command, place: Path) -> None:
    (place / "own.toml").write_text(
        '[benchmark]\nimage_size = 8\nsource = "here"\n[snowflakes]\nkernel = "impulse_noise"\ngroup = "noise"\n'
        f"standard = true\nlevels = [{', '.join(f'{{ share = 0.{severity} }}' for severity in range(1, 6))}]\n"
    )
    assert "share 0.5" in robustcsc("corruptions own.toml").out
    assert robustcsc("data corrupt --data digits --spec own.toml --out files").out == "files/snowflakes.npy\n"
    clean, *rows = json.loads(robustcsc("sweep --spec own.toml --json").out)
    assert [(row["name"], row["severity"]) for row in rows] == [("snowflakes", severity) for severity in range(1, 6)]
    assert {(row["table.name"], row["location.table"]) for row in rows} == {("own", str(place / "own.toml"))}
    assert rows[-1]["met"] < clean["met"]
    assert robustcsc("fit-lambda --spec own.toml --noise impulse --grid 0.1,1").code == 0


def test_photographs_of_ones_own_make_the_frost(robustcsc: Command, images: Path, place: Path) -> None:
    levels = ", ".join(["{ image_weight = 0.5, frost_weight = 0.5, texture_scale = 1 }"] * 5)
    entry = f'[frost]\nkernel = "frost"\ngroup = "weather"\nstandard = true\nlevels = [{levels}]\n'
    (place / "own.toml").write_text(f'[benchmark]\nimage_size = 16\nsource = "here"\n{entry}')
    typed = f"data corrupt --data imagefolder --root images --spec own.toml --frost-root {place}/photos --out files"
    done = robustcsc(typed)
    assert (done.code, done.out) == (2, "")
    assert f"Error: The photograph of frost {place}/photos/frost1.png cannot be read (No such file" in done.err
    assert not (place / "files").exists()

    (place / "photos").mkdir()
    for name in ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"):
        Image.new("RGB", (64, 64), (100, 100, 100)).save(place / "photos" / name, quality=100)
    assert robustcsc(typed).code == 0
    frosted = np.load(place / "files/frost.npy").astype(float)
    with Image.open(images / "test/0/0.png") as image:
        expected = 0.5 * np.asarray(image) + 50.0  # flat photographs: half the image and half their grey
    assert np.abs(frosted[0] - expected).max() <= 1.0

    done = robustcsc(typed.replace(f"--frost-root {place}/photos", ""))
    assert done.code == 2
    assert "Error: files holds images exported with table 'own@" in done.err
    done = robustcsc(f"sweep --spec own.toml --frost-root {place}/none")
    assert (done.code, done.out) == (2, "")
    assert f"The photograph of frost {place}/none/frost1.png cannot be read (No such file" in done.err
