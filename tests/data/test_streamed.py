import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from robustcsc.data import Batch, StreamedImages, load
from robustcsc.data.folder import list_images, open_listing
from robustcsc.errors import DataError

Pixels = npt.NDArray[np.uint8]
Tree = tuple[Path, dict[str, Pixels]]


def stream(root: Path, *, readers: int = 0, image_size: int | None = None) -> StreamedImages:
    """Returns the test split of a tree as a stream, however small it is."""
    images = open_listing(list_images(root / "test"), "test", image_size, readers, 0)
    assert isinstance(images, StreamedImages)
    return images


def joined(batches: list[Batch]) -> Batch:
    return Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


def same(left: Batch, right: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("batch_size, readers", [(1, 0), (5, 1), (5, 2), (100, 2)])
def test_a_stream_equals_the_same_tree_in_memory(tree: Tree, batch_size: int, readers: int) -> None:
    root, _ = tree
    memory = next(load("imagefolder", root).batches(12))
    assert same(joined(list(stream(root, readers=readers).batches(batch_size))), memory)


def test_batches_of_bytes_are_255_times_those_of_floats(tree: Tree) -> None:
    root, _ = tree
    for images in (stream(root), load("imagefolder", root)):
        floats, levels = next(images.batches(12)), next(images.batches(12, as_bytes=True))
        assert levels.images.dtype == torch.uint8 and same(levels._replace(images=levels.images / 255), floats)


def test_order_and_subsets_keep_positions(tree: Tree) -> None:
    root, _ = tree
    part = stream(root).subset(torch.tensor([11, 2, 7]))
    whole = load("imagefolder", root)
    batch = next(part.batches(3, order=torch.tensor([1, 0])))
    assert batch.indices.tolist() == [2, 11]
    assert same(batch, next(whole.batches(2, order=torch.tensor([2, 11]))))
    assert part.subset(torch.tensor([2])).files == ("emu/0.png",)


@pytest.mark.parametrize("readers", [0, 2])
def test_readers_report_unreadable_files_and_skip_them(
    tree: Tree, cut_short: Callable[[Path], None], readers: int
) -> None:
    root, _ = tree
    images = stream(root, readers=readers)
    part = images.subset(torch.tensor([0, 1, 2]))
    for file in ("dog/0.png", "cat/1.png"):
        cut_short(root / "test" / file)
    assert not images.unreadable
    for _ in range(2):
        batches = list(images.batches(2))
        assert [batch.indices.tolist() for batch in batches] == [[0], [2], [4, 5], [6, 7], [8, 9], [10, 11]]
        assert images.unreadable == (str(root / "test/cat/1.png"), str(root / "test/dog/0.png"))
    assert part.unreadable == images.unreadable
    assert torch.cat([batch.indices for batch in part.batches(1)]).tolist() == [0, 2]
    assert next(images.training_batches(12, epoch=0, seed=0)).indices.sort().values.tolist() == [0, 2, *range(4, 12)]


def test_a_stream_without_a_readable_image_is_refused(tree: Tree, cut_short: Callable[[Path], None]) -> None:
    root, pixels = tree
    images = stream(root)
    for file in pixels:
        cut_short(root / "test" / file)
    for _ in range(2):
        with pytest.raises(DataError, match="None of the images that were asked for"):
            list(images.batches(4))
    assert len(images.unreadable) == 12
    assert list(images.batches(4, order=torch.tensor([], dtype=torch.int64))) == []


@pytest.mark.parametrize("readers", [0, 1])
def test_an_image_of_another_size_stops_the_stream_with_its_name(
    tree: Tree, write_image: Callable[[Path, Pixels], Pixels], readers: int
) -> None:
    root, _ = tree
    images = stream(root, readers=readers)
    write_image(root / "test" / "dog" / "2.png", np.zeros((6, 9, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"dog/2.png has 9x6 pixels with 3 channels, but .* should be 8x10 pixels"):
        list(images.batches(3))


def test_renamed_and_copied_folders_and_files_keep_their_fingerprint(tree: Tree, tmp_path: Path) -> None:
    root, _ = tree
    fingerprint = stream(root).fingerprint
    shutil.copytree(root, tmp_path / "copy")
    assert stream(tmp_path / "copy").fingerprint == fingerprint
    root = root.rename(tmp_path / "renamed")
    (root / "test/emu/4.png").rename(root / "test/emu/5.png")
    assert stream(root).fingerprint == fingerprint
    assert replace(stream(root), name="other", split="train").fingerprint == fingerprint


def test_the_fingerprint_sees_every_byte_the_order_the_class_names_and_the_view(tree: Tree) -> None:
    root, _ = tree
    images = stream(root)
    prints = [images.fingerprint, stream(root, image_size=4).fingerprint, stream(root, image_size=5).fingerprint]
    prints.append(replace(images, crop=True).fingerprint)
    prints.append(images.subset(torch.arange(11)).fingerprint)
    prints.append(images.subset(torch.tensor([1, 0, *range(2, 12)])).fingerprint)
    prints.append(replace(images, labels=images.labels.flip(0)).fingerprint)
    prints.append(replace(images, positions=images.positions + 1).fingerprint)
    content = bytearray((root / "test/emu/4.png").read_bytes())
    content[-20] ^= 1
    (root / "test/emu/4.png").write_bytes(content)
    prints.append(stream(root).fingerprint)
    first, second = root / "test/dog/0.png", root / "test/dog/1.png"
    first.rename(root / "swap.png")
    second.rename(first)
    (root / "swap.png").rename(second)
    prints.append(stream(root).fingerprint)
    (root / "test/dog").rename(root / "test/dogs")
    prints.append(stream(root).fingerprint)
    assert len(set(prints)) == len(prints) == 11


def test_a_stream_and_its_subsets_read_no_file_twice_for_their_fingerprints(tree: Tree) -> None:
    root, pixels = tree
    expected = stream(root).subset(torch.tensor([7, 2])).fingerprint
    images = stream(root)
    whole = images.fingerprint
    for file in pixels:
        (root / "test" / file).unlink()
    assert images.subset(torch.tensor([7, 2])).fingerprint == expected
    assert images.subset(torch.arange(12)).fingerprint == whole


def test_a_file_that_cannot_be_opened_has_a_place_in_the_fingerprint(tree: Tree) -> None:
    root, _ = tree
    images = stream(root)
    whole, rest = stream(root).fingerprint, images.subset(torch.arange(11)).fingerprint
    (root / "test/emu/4.png").unlink()
    assert images.fingerprint not in (whole, rest)


def test_training_batches_do_not_depend_on_batch_size_and_readers(tree: Tree) -> None:
    root, _ = tree
    alone = joined(list(stream(root, image_size=6).training_batches(1, epoch=2, seed=5)))
    parallel = joined(list(stream(root, image_size=6, readers=2).training_batches(5, epoch=2, seed=5)))
    assert same(alone, parallel)
    assert alone.images.shape == (12, 3, 6, 6)
    assert alone.indices.tolist() != list(range(12))
    assert alone.indices.sort().values.tolist() == list(range(12))
    assert torch.equal(alone.labels, stream(root).labels[alone.indices])


def test_epochs_and_seeds_change_order_and_crops(tree: Tree) -> None:
    root, _ = tree
    images = stream(root, image_size=6)
    passes = [next(images.training_batches(12, epoch=epoch, seed=seed)) for epoch, seed in ((0, 0), (1, 0), (0, 1))]
    assert len({tuple(batch.indices.tolist()) for batch in passes}) == 3
    firsts = [batch.images[batch.indices == 0] for batch in passes]
    assert not any(torch.equal(firsts[i], firsts[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    with pytest.raises(DataError, match="must not be negative"):
        images.training_batches(12, epoch=-1, seed=0)


def test_a_crop_belongs_to_the_position_not_to_the_row(tree: Tree) -> None:
    root, _ = tree
    images = stream(root, image_size=6)
    whole = next(images.training_batches(12, epoch=0, seed=0))
    part = next(images.subset(torch.tensor([9, 4])).training_batches(2, epoch=0, seed=0))
    for position in (4, 9):
        assert torch.equal(part.images[part.indices == position], whole.images[whole.indices == position])


def test_a_given_order_changes_no_crop(tree: Tree) -> None:
    root, _ = tree
    images = stream(root, image_size=6)
    whole = next(images.training_batches(12, epoch=0, seed=0))
    share = next(images.training_batches(12, epoch=0, seed=0, order=torch.tensor([8, 3])))
    assert share.indices.tolist() == [8, 3]
    for position in (3, 8):
        assert torch.equal(share.images[share.indices == position], whole.images[whole.indices == position])


def test_reading_leaves_the_global_random_state_alone(tree: Tree) -> None:
    root, _ = tree
    before = torch.random.get_rng_state()
    list(stream(root, readers=1).batches(6))
    next(stream(root).training_batches(6, epoch=0, seed=0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_reader_can_stop_early(tree: Tree) -> None:
    root, _ = tree
    batches = stream(root, readers=2).batches(1)
    assert next(batches).indices.tolist() == [0]
    del batches


def test_more_readers_than_processors_are_not_started(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = tree
    monkeypatch.setattr("robustcsc.data.streamed._usable_cpus", lambda: 1)
    images = replace(stream(root), readers=64)  # DataLoader would warn, and warnings are errors here
    assert len(next(images.batches(12)).labels) == 12
