import io
import itertools
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from robustcsc.data import DecodedImages, StreamedImages, load
from robustcsc.data.folder import list_images, open_listing
from robustcsc.errors import DataError

Pixels = npt.NDArray[np.uint8]
Writer = Callable[[Path, Pixels], Pixels]
Tree = tuple[Path, dict[str, Pixels]]
SHARED = Path(__file__).parents[3] / "shared" / "data"


def colour(size: int, value: int = 7) -> Pixels:
    return np.full((size, size, 3), value, dtype=np.uint8)


def test_images_come_in_sorted_order_with_their_class(tree: Tree) -> None:
    root, pixels = tree
    images = load("imagefolder", root)
    assert isinstance(images, DecodedImages)
    assert (images.name, images.split, images.classes) == (root.name, "test", ("cat", "dog", "emu"))
    assert images.labels.tolist() == [0] * 3 + [1] * 4 + [2] * 5
    assert images.files == tuple(sorted(pixels))
    batch = next(images.batches(12))
    expected = np.stack([pixels[file] for file in sorted(pixels)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(batch.images.mul(255).round().numpy(), expected)
    assert batch.indices.tolist() == list(range(12))


def test_other_files_and_hidden_ones_are_ignored(tree: Tree, write_image: Writer) -> None:
    root, _ = tree
    (root / "test-canonical-order.tsv").write_text("0\t3\ttest/cat/0.png\n")
    (root / "test" / "list.txt").write_text("cat")
    (root / "test" / "cat" / "notes.csv").write_text("1,2")
    write_image(root / "test" / ".cache" / "0.png", colour(8))
    write_image(root / "test" / "cat" / "._0.png", colour(8))
    write_image(root / "test" / "cat" / ".thumbnails" / "0.png", colour(8))
    assert len(load("imagefolder", root)) == 12


def test_suffixes_count_in_any_case_and_images_may_lie_deeper(tmp_path: Path, write_image: Writer) -> None:
    write_image(tmp_path / "train" / "a" / "images" / "1.JPEG", colour(8))
    write_image(tmp_path / "train" / "a" / "2.PNG", colour(8))
    assert load("imagefolder", tmp_path, "train").files == ("a/2.PNG", "a/images/1.JPEG")


def test_a_link_to_a_folder_above_it_is_refused_and_one_to_elsewhere_followed(
    tmp_path: Path, write_image: Writer
) -> None:
    """The system follows a link in a circle 40 times, and each image would count as often."""
    write_image(tmp_path / "test/cat/0.png", colour(8))
    write_image(tmp_path / "elsewhere/1.png", colour(8))
    (tmp_path / "test/cat/more").symlink_to(tmp_path / "elsewhere")
    assert list_images(tmp_path / "test").files == ("cat/0.png", "cat/more/1.png")
    (tmp_path / "test/cat/again").symlink_to("..")
    with pytest.raises(DataError, match="cat/again is a link to a folder that it lies in"):
        list_images(tmp_path / "test")


def test_val_is_the_test_split_even_beside_a_flat_test_folder(tmp_path: Path, write_image: Writer) -> None:
    write_image(tmp_path / "train" / "a" / "1.png", colour(8))
    write_image(tmp_path / "val" / "a" / "2.png", colour(8))
    write_image(tmp_path / "test" / "unlabelled.png", colour(8))
    assert load("imagefolder", tmp_path, "test").files == ("a/2.png",)


def test_a_bare_folder_of_classes_can_be_tested_but_not_trained_on(tmp_path: Path, write_image: Writer) -> None:
    write_image(tmp_path / "a" / "1.png", colour(8))
    with pytest.warns(
        UserWarning, match=r"has no folders train and test: it is read as the test images, 1 class folder"
    ):
        assert load("imagefolder", tmp_path).split == "test"
    with pytest.raises(DataError, match="has no train images: they must lie in train/<class>/<image>"):
        load("imagefolder", tmp_path, "train")


def test_missing_parts_are_named(tmp_path: Path, tree: Tree, write_image: Writer) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        load("imagefolder", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no class folders"):
        load("imagefolder", tmp_path / "empty")
    write_image(tmp_path / "flat" / "train" / "1.png", colour(8))
    for split in ("train", "test"):
        with pytest.raises(DataError, match=f"flat has no {split} images"):
            load("imagefolder", tmp_path / "flat", split)
    root, _ = tree
    (root / "test" / "fox").mkdir()
    with pytest.raises(DataError, match="fox has no images"):
        load("imagefolder", root)


def test_splits_with_different_classes_are_refused(tree: Tree, write_image: Writer) -> None:
    root, _ = tree
    for name in ("cat", "dog"):
        write_image(root / "train" / name / "1.png", colour(8))
    with pytest.raises(DataError, match="'emu' is only in one of them"):
        load("imagefolder", root)


def test_grey_files_stay_grey_unless_one_has_colour(tmp_path: Path, write_image: Writer) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    write_image(tmp_path / "a" / "1.png", grey)
    write_image(tmp_path / "a" / "2.png", grey)
    listing = list_images(tmp_path)
    for limit in (10**6, 0):
        alone = open_listing(listing, "test", None, 0, limit)
        assert alone.image_shape == (1, 8, 8)
        assert next(alone.batches(1)).images.mul(255).flatten().tolist() == list(range(64))
    write_image(tmp_path / "a" / "3.png", colour(8))
    listing = list_images(tmp_path)
    for limit in (10**6, 0):
        mixed = open_listing(listing, "test", None, 0, limit)
        assert mixed.image_shape == (3, 8, 8)
        assert next(mixed.batches(1)).images.mul(255).flatten().tolist() == list(range(64)) * 3


def test_mixed_sizes_need_an_image_size(tmp_path: Path, write_image: Writer) -> None:
    write_image(tmp_path / "test" / "a" / "1.png", colour(20, 50))
    write_image(tmp_path / "test" / "a" / "2.png", colour(30, 90))
    listing = list_images(tmp_path / "test")
    with pytest.raises(DataError, match="20x20 and 30x30 pixels"):
        open_listing(listing, "test", None, 0, 0)
    kept = load("imagefolder", tmp_path)
    with pytest.raises(DataError, match=r"20x20 and 30x30 pixels.*add --image-size"):
        kept.batches(2)
    assert next(kept.subset(torch.tensor([0])).batches(2)).images[0, 0, 0].mul(255).tolist() == [50] * 20
    images = load("imagefolder", tmp_path, image_size=16, readers=0)
    assert isinstance(images, StreamedImages)
    batch = next(images.batches(2))
    assert batch.images.shape == (2, 3, 16, 16)
    assert [values.unique().mul(255).tolist() for values in batch.images] == [[50], [90]]
    with pytest.raises(DataError, match="at least 1 pixel"):
        load("imagefolder", tmp_path, image_size=0)


def test_a_kept_set_views_images_of_other_sizes_as_a_streamed_one_does(tmp_path: Path, write_image: Writer) -> None:
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate([(16, 16), (40, 30), (21, 50)]):
        write_image(tmp_path / "a" / f"{number}.png", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    write_image(tmp_path / "a" / "3.png", rng.integers(0, 256, (33, 21), dtype=np.uint8))
    listing = list_images(tmp_path)
    kept, streamed = (open_listing(listing, "test", 16, 0, limit) for limit in (10**6, 0))
    assert isinstance(kept, DecodedImages) and isinstance(streamed, StreamedImages)
    assert torch.equal(next(kept.batches(4)).images, next(streamed.batches(4)).images)


def test_images_above_the_memory_limit_are_streamed(tree: Tree) -> None:
    root, _ = tree
    listing = list_images(root / "test")
    needed = 12 * 3 * 10 * 8
    assert isinstance(open_listing(listing, "test", None, 1, needed), DecodedImages)
    assert isinstance(open_listing(listing, "test", None, 1, needed - 1), StreamedImages)


def test_unreadable_files_are_left_out_and_named(tree: Tree, cut_short: Callable[[Path], None]) -> None:
    root, _ = tree
    whole = load("imagefolder", root)
    rest = whole.subset(torch.tensor([0, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
    expected = next(rest.batches(10))
    cut_short(root / "test" / "cat" / "1.png")
    (root / "test" / "emu" / "4.png").write_bytes(b"")
    images = load("imagefolder", root)
    assert isinstance(images, DecodedImages)
    first, second = images.batches(6)
    assert images.unreadable == (str(root / "test/cat/1.png"), str(root / "test/emu/4.png"))
    assert [*first.indices.tolist(), *second.indices.tolist()] == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert torch.equal(torch.cat([first.images, second.images]), expected.images)
    assert torch.equal(torch.cat([first.labels, second.labels]), expected.labels)
    (some,) = images.batches(9, order=torch.tensor([11, 10, 1, 2]))
    assert some.indices.tolist() == [10, 2]
    assert images.fingerprint == rest.fingerprint
    assert images.in_memory.files == rest.files


def test_a_tree_without_a_readable_image_is_refused(tree: Tree) -> None:
    root, pixels = tree
    for file in pixels:
        (root / "test" / file).write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match="None of the 12 images"):
        load("imagefolder", root)


def test_readable_headers_do_not_make_readable_images(tree: Tree, cut_short: Callable[[Path], None]) -> None:
    root, pixels = tree
    for file in pixels:
        cut_short(root / "test" / file)
    with pytest.raises(DataError, match="None of the 12 images"):
        load("imagefolder", root).batches(1)


def unpack(archive: Path, folder: str, count: int, into: Path) -> None:
    """Unpacks the first `count` files of a folder in a .tar.xz archive, without parsing the archive up to there."""
    into.mkdir(parents=True)
    with lzma.open(archive) as packed:
        content = packed.read()
    with tarfile.open(fileobj=io.BytesIO(content[content.index(folder.encode()) :])) as members:
        for member in itertools.islice(members, count + 1):  # the folder itself comes first
            file = members.extractfile(member)
            if file is not None:
                (into / Path(member.name).name).write_bytes(file.read())


@pytest.mark.filterwarnings("ignore:.* has no folders train and test")  # both are bare trees of class folders
def test_real_cifar_jpegs_differ_from_the_exact_pixels_as_documented(tmp_path: Path) -> None:
    copies, exact = SHARED / "cifar10-jpeg.tar.xz", SHARED / "cifar10-test-lossless.tar.xz"
    if not (copies.exists() and exact.exists()):
        pytest.skip("the CIFAR-10 copies are not beside the checkout (shared/data/*.tar.xz)")
    unpack(copies, "test/airplane/", 40, tmp_path / "jpeg" / "airplane")
    unpack(exact, "cifar10-test-lossless/airplane/", 40, tmp_path / "png" / "airplane")
    lossy, lossless = (load("imagefolder", tmp_path / kind) for kind in ("jpeg", "png"))
    assert [Path(file).stem for file in lossy.files] == [Path(file).stem for file in lossless.files]
    assert lossy.image_shape == lossless.image_shape == (3, 32, 32)
    errors = next(lossy.batches(40)).images - next(lossless.batches(40)).images
    # Over all 1,017 images the mean PSNR is 30.5 dB and the mean L2 distance 1.71.
    psnr = -10 * errors.square().flatten(1).mean(1).log10()
    assert abs(float(psnr.mean()) - 30.5) < 2
    assert abs(float(errors.flatten(1).norm(dim=1).mean()) - 1.71) < 0.3
