from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from robustcsc.data import index as index_module
from robustcsc.data.folder import list_images, open_listing
from robustcsc.data.index import FolderIndex
from robustcsc.data.shards import Place
from robustcsc.data.streamed import StreamedImages
from robustcsc.data.tree import image_folders

Tree = tuple[Path, dict[str, object]]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps indices of small folders, too, and takes no change for recent; returns where they lie."""
    monkeypatch.setenv("ROBUSTCSC_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(index_module, "FEWEST_FILES", 1)
    monkeypatch.setattr(index_module, "_RECENT", -(10**12))
    return tmp_path / "kept/robustcsc/index"


def opened(root: Path) -> StreamedImages:
    images = open_listing(list_images(root / "test"), "test", None, 0, 0)
    assert isinstance(images, StreamedImages)
    return images


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were read to be hashed."""
    names: list[str] = []
    original = Place.read

    def noted(place: Place) -> bytes:
        names.append(Path(place.path).name)
        return original(place)

    monkeypatch.setattr(Place, "read", noted)
    return names


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The class folders that were listed."""
    names: list[str] = []
    original = image_folders

    def noted(folder: Path, name: str) -> object:
        names.append(name)
        return original(folder, name)

    monkeypatch.setattr(index_module, "image_folders", noted)
    return names


def test_a_second_start_lists_and_reads_nothing(tree: Tree, read: list[str], walked: list[str]) -> None:
    first = opened(tree[0])
    fingerprint = first.fingerprint
    assert (len(read), len(walked)) == (12, 3)
    again = opened(tree[0])
    assert (again.files, again.fingerprint) == (first.files, fingerprint)
    assert (len(read), len(walked)) == (12, 3)


def test_a_file_that_was_edited_in_place_and_dated_back_is_read_again(tree: Tree, read: list[str]) -> None:
    before = opened(tree[0]).fingerprint
    path = tree[0] / "test" / next(iter(opened(tree[0]).files))
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as file:  # the same size, number and time of modification: only that of the change differs
        file.write(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    read.clear()
    after = opened(tree[0]).fingerprint
    assert read == [path.name]
    assert after != before
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert opened(tree[0]).fingerprint == before


@pytest.mark.parametrize("deep", [False, True])
def test_a_new_file_is_found_wherever_it_lies(tree: Tree, walked: list[str], deep: bool) -> None:
    root = tree[0] / "test"
    name = sorted(it.name for it in root.iterdir())[1]
    place = root / name / "deeper" if deep else root / name
    place.mkdir(exist_ok=True)
    count = len(opened(tree[0]).files)
    assert opened(tree[0]).fingerprint
    walked.clear()
    source = next(root.glob("*/*.png"))
    (place / "new.png").write_bytes(source.read_bytes())
    images = opened(tree[0])
    assert len(images.files) == count + 1
    assert walked == [name]
    os.remove(place / "new.png")
    assert len(opened(tree[0]).files) == count


def test_what_is_damaged_or_gone_is_made_again(tree: Tree, kept: Path, read: list[str]) -> None:
    fingerprint = opened(tree[0]).fingerprint
    (path,) = kept.iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], b"", None):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        read.clear()
        assert opened(tree[0]).fingerprint == fingerprint
        assert len(read) == 12
        assert path.read_bytes() == whole


def test_a_part_of_the_images_adds_to_what_is_known(tree: Tree, read: list[str]) -> None:
    assert opened(tree[0]).subset(torch.tensor([3, 5])).fingerprint
    assert len(read) == 2
    assert opened(tree[0]).fingerprint
    assert len(read) == 12


def test_what_changed_just_now_is_not_trusted(tree: Tree, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_RECENT", 10**12)
    for _ in range(2):
        assert opened(tree[0]).fingerprint
    assert len(read) == 24


def test_a_file_that_comes_while_its_folder_is_listed_is_found_the_next_time(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_RECENT", 0)
    new, source = tree[0] / "test/dog/new.png", tree[0] / "test/dog/0.png"

    def slowly(folder: Path, name: str) -> Iterator[tuple[str, list[str]]]:
        for place, inside in image_folders(folder, name):
            if place == "dog" and not new.exists():
                time.sleep(0.05)  # more than a tick of the clock of the file system
                new.write_bytes(source.read_bytes())
            yield place, inside

    monkeypatch.setattr(index_module, "image_folders", slowly)
    before = opened(tree[0])
    assert before.fingerprint and len(before.files) == 12
    assert len(opened(tree[0]).files) == 13


def test_nothing_is_kept_of_small_folders_or_without_a_cache(
    tree: Tree, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "FEWEST_FILES", 13)
    assert opened(tree[0]).fingerprint
    monkeypatch.setattr(index_module, "FEWEST_FILES", 1)
    monkeypatch.setenv("ROBUSTCSC_CACHE", "off")
    assert opened(tree[0]).fingerprint
    assert FolderIndex(tree[0] / "test").path is None
    assert not kept.exists()
