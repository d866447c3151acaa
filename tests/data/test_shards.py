from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from robustcsc.data import StreamedImages, index, load
from robustcsc.data.folder import list_images, open_listing
from robustcsc.data.shards import Place, Sample, find_shards, read_shard
from robustcsc.data.splits import evenly_spaced
from robustcsc.errors import DataError

wds = pytest.importorskip("webdataset")

Pixels = npt.NDArray[np.uint8]
Tree = tuple[Path, dict[str, Pixels]]


def write_shard(path: Path, samples: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wds.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)
    return path


def samples_of(root: Path, names: list[str], classes: list[str]) -> Iterator[dict[str, Any]]:
    """Yields the files of a tree as samples, with labels and names."""
    for number, name in enumerate(names):
        label = classes.index(name.partition("/")[0])
        facts = json.dumps({"label": label, "class_name": classes[label]}).encode()
        key = f"{number:04}"
        yield {"__key__": key, "png": (root / "test" / name).read_bytes(), "cls": str(label).encode(), "json": facts}


@pytest.fixture
def shards(tree: Tree, tmp_path: Path) -> str:
    """The images of `tree` in three shards; returns their pattern."""
    root, _ = tree
    files = list_images(root / "test")
    samples = [*samples_of(root, list(files.files), list(files.classes))]
    for number in range(3):
        write_shard(tmp_path / f"shards/test-{number:02}.tar", samples[number * 4 : number * 4 + 4])
    return str(tmp_path / "shards/test-{00..02}.tar")


def test_shards_hold_the_images_of_a_folder(tree: Tree, shards: str) -> None:
    """The same pixels, labels, names and positions, and so the same fingerprint as the folder read as a stream."""
    folder = open_listing(list_images(tree[0] / "test"), "test", None, 0, 0)
    images = load("webdataset", shards, readers=0)
    assert isinstance(images, StreamedImages)
    assert (images.classes, images.labels.tolist()) == (folder.classes, folder.labels.tolist())
    (one,), (other,) = images.batches(12), folder.batches(12)
    assert torch.equal(one.images, other.images) and torch.equal(one.indices, other.indices)
    assert images.fingerprint == folder.fingerprint
    assert images.files[4] == "test-01.tar/0004.png"
    assert images.location.root == os.path.abspath(shards)


def test_some_of_the_images_are_read_alone(tree: Tree, shards: str) -> None:
    images = evenly_spaced(load("webdataset", shards, readers=0), 5)
    folder = evenly_spaced(load("imagefolder", tree[0]), 5)
    (one,), (other,) = images.batches(5), folder.batches(5)
    assert torch.equal(one.images, other.images) and torch.equal(one.indices, other.indices)


def test_training_views_are_those_of_the_folder(tree: Tree, shards: str) -> None:
    folder = open_listing(list_images(tree[0] / "test"), "train", 8, 0, 0)
    images = load("webdataset", shards, image_size=8, readers=2)
    assert isinstance(images, StreamedImages) and isinstance(folder, StreamedImages)
    (one,), (other,) = (it.training_batches(12, epoch=3, seed=1) for it in (images, folder))
    assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_the_word_in_a_name_or_its_folder_tells_the_split(tmp_path: Path) -> None:
    sample = {"__key__": "a", "png": png(1), "cls": b"0"}
    for name in ("train/0.tar", "val/0.tar", "val/1.tar"):
        write_shard(tmp_path / name, [sample])
    assert find_shards(str(tmp_path), "test") == [str(tmp_path / f"val/{number}.tar") for number in range(2)]
    assert find_shards(f"{tmp_path}/{{train,val}}/0.tar", "train") == [str(tmp_path / "train/0.tar")]
    with pytest.raises(DataError, match="has no train shards: the word train"):
        find_shards(f"{tmp_path}/val/{{0..1}}.tar", "train")
    bare = write_shard(tmp_path / "shards/0.tar", [sample])
    assert find_shards(str(bare), "test") == [str(bare)]
    with pytest.raises(DataError, match="has no train shards"):
        find_shards(str(bare), "train")


def png(level: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (4, 4), level).save(content, "png")
    return content.getvalue()


def test_labels_without_names_are_named_by_number_and_images_stay_grey(tmp_path: Path) -> None:
    samples = [{"__key__": f"{level}", "png": png(level), "json": {"label": level}} for level in (2, 0)]
    images = load("webdataset", write_shard(tmp_path / "0.tar", samples), readers=0)
    assert (images.classes, images.labels.tolist(), images.image_shape) == (("0", "1", "2"), [2, 0], (1, 4, 4))
    assert (next(images.batches(2)).images[:, 0, 0, 0] * 255).tolist() == [2, 0]


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def overwritten(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + 100] = b"x" * 100
    path.write_bytes(content)


def labelled(facts: bytes, path: Path) -> None:
    write_shard(path, [{"__key__": "a", "png": png(0), "json": facts}])


SAMPLES: list[dict[str, Any]] = [{"__key__": f"{level}", "png": png(level), "cls": b"0"} for level in range(3)]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: cut(path, 0), "is no readable tar file"),
        (lambda path: cut(path, 1024), "is no readable tar file"),
        (lambda path: cut(path, 3072), "is no readable tar file"),
        (lambda path: cut(path, 3300), "is no readable tar file"),
        (lambda path: overwritten(path, 2048), "is no readable tar file"),
        (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(2000)), "is no readable tar file"),
        (lambda path: write_shard(path, []), "is empty: leave it out"),
        (lambda path: write_shard(path, [{"__key__": "a", "txt": "b", "cls": b"0"}]), "has 0 images among .cls, .txt"),
        (lambda path: write_shard(path, [{"__key__": "a", "png": png(0)}]), "has no label"),
        (lambda path: write_shard(path, [{"__key__": "a", "png": png(0), "cls": b"-1"}]), "has no label"),
        (lambda path: write_shard(path, [{"__key__": "a", "png": png(0), "cls": b"99999999999"}]), "0 to 999999"),
        (lambda path: write_shard(path, [*SAMPLES, SAMPLES[0]]), r"holds 0\.(cls|png) twice"),
        (lambda path: write_shard(path, [SAMPLES[0], SAMPLES[0]]), r"holds 0\.(cls|png) twice"),
        *[
            (partial(labelled, facts), "has no label")
            for facts in (b'{"label": 1.7}', b'{"label": true}', b"[1]", b"[" * 9999)
        ],
        (partial(labelled, b'{"label": 1e400}'), "has no label"),
    ],
)
def test_a_bad_shard_is_named(damage: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    path = write_shard(tmp_path / "0.tar", SAMPLES)
    assert len(read_shard(str(path))) == 3
    damage(path)
    with pytest.raises(DataError, match=rf"{path}.*{sentence}"):
        read_shard(str(path))


def test_a_missing_shard_and_other_files_are_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", SAMPLES)
    with pytest.raises(DataError, match=r"The shard .*1\.tar is missing"):
        find_shards(f"{tmp_path}/{{0..1}}.tar", "test")
    with pytest.raises(DataError, match=r"0\.tar\.gz is no shard"):
        find_shards(f"{tmp_path}/0.tar.gz", "test")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"There are no \.tar files in the folder"):
        find_shards(f"{tmp_path}/none", "test")


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("{0,0}.tar", r"names the shard .*0\.tar twice"),
        ("{0..1.tar", "has a brace without its other half"),
        ("{0..9999999}.tar", "counts from 0 to 9999999: write fewer than 1,000,000 shards"),
        ("${HOME}/0.tar", r"\{HOME\}/0\.tar is missing"),
        ("{0,test-1}.tar", r"0\.tar nor its folder has the word train, test or val, as others"),
        ("", r"0\.tar nor its folder has the word train, test or val, as others"),
    ],
)
def test_a_pattern_that_counts_no_image_or_one_twice_is_refused(pattern: str, sentence: str, tmp_path: Path) -> None:
    for name in ("0", "test-1"):
        write_shard(tmp_path / f"shards/{name}.tar", SAMPLES)
    with pytest.raises(DataError, match=sentence):
        find_shards(f"{tmp_path}/shards/{pattern}", "test")


def test_braces_that_hold_whole_paths_and_a_folder_that_is_called_like_a_shard(tmp_path: Path) -> None:
    """What a run remembers of them names the same shards from any folder."""
    one, two = (write_shard(tmp_path / f"{name}/0.tar", SAMPLES) for name in ("one.tar", "two"))
    images = load("webdataset", f"{{{one},{two}}}", readers=0)
    assert len(images) == 6
    assert find_shards(images.location.root, "test") == [str(one), str(two)]
    assert find_shards(str(tmp_path), "test") == [str(one), str(two)]


def test_facts_that_are_no_table_say_nothing_of_the_class(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "0.tar", [{**SAMPLES[0], "json": b'["a cat", "a dog"]'}])
    assert read_shard(str(path))[0][3:] == (0, None)


def test_a_second_start_reads_no_tar_and_hashes_nothing(
    shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTCSC_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(index, "FEWEST_FILES", 1)
    monkeypatch.setattr(index, "_RECENT", -(10**12))
    first = load("webdataset", shards, readers=0)
    assert isinstance(first, StreamedImages)
    fingerprint, (batch,) = first.fingerprint, first.batches(12)
    read: list[str] = []

    def noted(path: str) -> list[Sample]:
        read.append(Path(path).name)
        return read_shard(path)

    monkeypatch.setattr(index, "read_shard", noted)
    again = load("webdataset", shards, readers=0)
    with monkeypatch.context() as without:
        without.setattr(Place, "read", None)
        assert again.fingerprint == fingerprint
    assert read == []
    assert torch.equal(next(again.batches(12)).images, batch.images)
    path = Path(shards).with_name("test-01.tar")
    path.write_bytes(path.read_bytes())
    assert load("webdataset", shards, readers=0).fingerprint == fingerprint
    assert read == ["test-01.tar"]


def test_a_damaged_image_is_left_out_and_named(tmp_path: Path) -> None:
    samples = [*SAMPLES, {"__key__": "bad", "png": b"no image", "cls": b"0"}]
    images = load("webdataset", write_shard(tmp_path / "0.tar", samples), readers=0)
    assert len(next(images.batches(4)).images) == 3
    assert images.unreadable == (str(tmp_path / "0.tar/bad.png"),)
