"""Where the files of a data set are looked for."""

from pathlib import Path

import pytest

from robustcsc.errors import DataError
from robustcsc.roots import cache_folder, find_root


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that `ROBUSTCSC_DATA` names, with CIFAR-10 and one image folder."""
    folder = tmp_path / "all my data"
    for name in ("cifar10", "flowers"):
        (folder / name).mkdir(parents=True)
    monkeypatch.setenv("ROBUSTCSC_DATA", str(folder))
    return folder


def test_what_a_run_remembers_comes_before_the_environment(shared: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    assert find_root("cifar10", str(own)) == own
    own.rmdir()
    assert find_root("cifar10", str(own)) == shared / "cifar10"


def test_an_image_folder_keeps_its_own_name(shared: Path) -> None:
    assert find_root("imagefolder", "/another/machine/flowers") == shared / "flowers"
    with pytest.raises(DataError, match=r"there is no .*/all my data/roses\): .* a folder that holds roses\."):
        find_root("imagefolder", "/another/machine/roses")


def test_a_download_may_make_the_folder_of_a_data_set(shared: Path) -> None:
    assert find_root("mnist", download=True) == shared / "mnist"
    with pytest.raises(DataError, match="No folder of mnist is known"):
        find_root("mnist")


@pytest.mark.parametrize(
    ("remembered", "run"),
    [("", "no run remembers one"), ("/gone/cifar10", "the run remembers /gone/cifar10, which is gone")],
)
def test_a_refusal_names_all_three_places(remembered: str, run: str) -> None:
    with pytest.raises(DataError) as refused:
        find_root("cifar10", remembered)
    assert str(refused.value) == (
        f"No folder of cifar10 is known ({run}, ROBUSTCSC_DATA is not set): add --root FOLDER, or set ROBUSTCSC_DATA "
        "to a folder that holds cifar10."
    )


def test_the_cache_lies_where_the_system_has_caches_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ROBUSTCSC_CACHE", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "robustcsc"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "robustcsc"
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert cache_folder() == Path("/var/cache/me/robustcsc")
    monkeypatch.setenv("ROBUSTCSC_CACHE", "~/fast")
    assert cache_folder() == tmp_path / "fast" / "robustcsc"
    monkeypatch.setenv("ROBUSTCSC_CACHE", "off")
    assert cache_folder() is None
