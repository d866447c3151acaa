import os
from pathlib import Path

import pytest

from robustcsc.errors import StoreError
from robustcsc.runs import Run, create, existing, find, latest


def put(path: Path, when: int) -> None:
    """Makes a file that was changed `when` seconds after 2001."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (10**9 + when, 10**9 + when))


def test_a_run_is_one_folder() -> None:
    run = Run(Path("runs/first"))
    assert run.name == "first"
    inside = [run.weights_path, run.training_path, run.store_path, run.reports, run.fit_path("gaussian")]
    assert [path.relative_to("runs/first").as_posix() for path in inside] == [
        "weights.safetensors",
        "training.pt",
        "results.sqlite",
        "reports",
        "lambda/gaussian.json",
    ]


def test_the_name_of_a_relative_folder_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "inner" / "deep")
    assert Run(Path(".")).name == "deep"
    assert Run(Path("..")).name == "inner"


@pytest.mark.parametrize("path", ["weights.safetensors", "training.pt", "results.sqlite", "lambda/shot.json"])
def test_any_content_makes_a_run_the_latest(tmp_path: Path, path: str) -> None:
    put(tmp_path / "a" / path, 20)
    put(tmp_path / "b" / "weights.safetensors", 10)
    assert latest(tmp_path) == Run(tmp_path / "a")


def test_the_newest_content_counts_not_the_folder_or_a_report(tmp_path: Path) -> None:
    put(tmp_path / "a" / "weights.safetensors", 1)
    put(tmp_path / "a" / "results.sqlite", 30)
    put(tmp_path / "b" / "weights.safetensors", 20)
    put(tmp_path / "b" / "reports" / "index.html", 40)
    (tmp_path / "empty").mkdir()
    put(tmp_path / "file.txt", 50)
    assert latest(tmp_path) == Run(tmp_path / "a")


def test_a_tie_is_broken_by_name(tmp_path: Path) -> None:
    for name in ("b", "c", "a"):
        put(tmp_path / name / "weights.safetensors", 5)
    assert latest(tmp_path) == Run(tmp_path / "c")


def test_without_contents_there_is_no_latest_run(tmp_path: Path) -> None:
    assert latest(tmp_path / "missing") is None
    assert latest(tmp_path) is None
    create("empty", tmp_path)
    assert latest(tmp_path) is None


def test_existing_runs_are_listed_by_name_without_hidden_folders(tmp_path: Path) -> None:
    for name in ("b", "a", ".cache"):
        (tmp_path / name).mkdir()
    assert [run.name for run in existing(tmp_path)] == ["a", "b"]


def test_a_run_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    made = create("first", tmp_path / "runs")
    assert find("first", tmp_path / "runs") == made
    assert find(tmp_path / "runs" / "first", tmp_path / "runs") == made
    put(tmp_path / "elsewhere" / "weights.safetensors", 1)
    assert find(str(tmp_path / "elsewhere"), tmp_path / "runs") == Run(tmp_path / "elsewhere")


def test_a_name_goes_before_a_folder_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "first" / "weights.safetensors", 1)
    create("first", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert find("first", Path("runs")) == Run(Path("runs/first"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frist", "did you mean 'first'"),
        ("zzz", "choose one of first, second"),
        ("", "choose one of first, second"),
        ("no/such/path", "choose one of first, second"),
        ("x" * 300, "choose one of first, second"),
        ("nul\0", "choose one of first, second"),
    ],
)
def test_an_unknown_run_is_answered_with_the_known_ones(tmp_path: Path, name: str, message: str) -> None:
    create("first", tmp_path)
    create("second", tmp_path)
    with pytest.raises(StoreError, match=message):
        find(name, tmp_path)


def test_an_unknown_run_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no runs in .* yet"):
        find("first", tmp_path)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    with pytest.raises(StoreError, match="neither weights nor results"):
        find(tmp_path / "docs", tmp_path / "runs")


def test_create_makes_the_folder_and_its_parents(tmp_path: Path) -> None:
    run = create("sdnet18-a.1", tmp_path / "deep" / "runs")
    assert run == Run(tmp_path / "deep" / "runs" / "sdnet18-a.1")
    assert run.folder.is_dir()
    assert list(run.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "/tmp/a", ".hidden", "-a", "a b", "a\n", "a\0", "_a"])
def test_a_name_that_is_no_plain_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be the name of a run"):
        create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_contents_is_not_made_again_unless_asked(tmp_path: Path) -> None:
    assert create("first", tmp_path) == create("first", tmp_path)  # still empty
    put(tmp_path / "first" / "weights.safetensors", 1)
    with pytest.raises(StoreError, match="exists already"):
        create("first", tmp_path)
    assert create("first", tmp_path, exist_ok=True).weights_path.exists()


@pytest.mark.parametrize("name", ["x" * 201, "\u03bb" * 101])
def test_a_name_longer_than_file_systems_take_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="at most 200 letters"):
        create(name, tmp_path)
    assert create(name[:100], tmp_path).folder.is_dir()


@pytest.mark.parametrize("name", ["first", "x" * 200])
def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path, name: str) -> None:
    root = tmp_path / "file"
    root.touch()
    with pytest.raises(StoreError, match="cannot be made"):
        create(name, root)
    with pytest.raises(StoreError, match="cannot be read"):
        existing(root)
