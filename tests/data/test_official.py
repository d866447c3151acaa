from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from robustcsc.data import DecodedImages, MemoryImages, StreamedImages, load, load_official
from robustcsc.errors import DataError

Pixels = npt.NDArray[np.uint8]
Writer = Callable[[Path, Pixels], Pixels]
LABELS = np.array([2, 0, 1, 1, 0, 2])


@pytest.fixture
def clean() -> MemoryImages:
    """Six 4x5 colour images in the original order."""
    return MemoryImages(
        name="six",
        split="test",
        classes=("a", "b", "c"),
        pixels=torch.zeros(6, 3, 4, 5, dtype=torch.uint8),
        labels=torch.from_numpy(LABELS),
        positions=torch.arange(6),
    )


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """fog.npy: red is 10 * severity + image, green is the row, blue the column."""
    fog = np.empty((30, 4, 5, 3), dtype=np.uint8)
    fog[..., 0] = (10 * np.arange(1, 6)[:, None] + np.arange(6)).reshape(30, 1, 1)
    fog[..., 1] = np.arange(4)[:, None]
    fog[..., 2] = np.arange(5)
    np.save(tmp_path / "fog.npy", fog)
    np.save(tmp_path / "labels.npy", np.tile(LABELS, 5))
    return tmp_path


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_a_severity_is_its_fifth_of_the_array(arrays: Path, clean: MemoryImages, severity: int) -> None:
    batch = next(load_official(arrays, "fog", severity, clean).batches(6))
    values = batch.images.mul(255).round()
    assert values[:, 0, 3, 4].tolist() == [10 * severity + image for image in range(6)]
    assert values[0, 1, :, 0].tolist() == [0, 1, 2, 3]
    assert values[0, 2, 0, :].tolist() == [0, 1, 2, 3, 4]
    assert batch.labels.tolist() == LABELS.tolist()
    assert batch.indices.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_subset_of_the_clean_images_selects_the_same_positions(arrays: Path, clean: MemoryImages) -> None:
    official = load_official(arrays, "fog", 2, clean.subset(torch.tensor([4, 1])))
    batch = next(official.batches(6))
    assert batch.images[:, 0, 0, 0].mul(255).round().tolist() == [24, 21]
    assert (batch.indices.tolist(), batch.labels.tolist()) == ([4, 1], [0, 0])
    assert (official.name, official.split, official.classes) == ("six", "test", ("a", "b", "c"))


def test_each_severity_has_its_own_fingerprint(arrays: Path, clean: MemoryImages) -> None:
    prints = {load_official(arrays, "fog", severity, clean).fingerprint for severity in range(1, 6)}
    assert len(prints | {clean.fingerprint}) == 6


def test_images_that_stay_in_their_file_are_as_if_they_were_copied(arrays: Path, clean: MemoryImages) -> None:
    official = load_official(arrays, "fog", 2, clean)
    assert isinstance(official, MemoryImages)
    assert not official.pixels.is_contiguous()
    batch = next(official.batches(4))
    assert batch.images.is_contiguous()  # the memory format decides the bits of a convolution
    copied = replace(official, pixels=official.pixels.contiguous())
    assert torch.equal(batch.images, next(copied.batches(4)).images)
    assert official.fingerprint == copied.fingerprint


def test_labels_may_be_stored_once(arrays: Path, clean: MemoryImages) -> None:
    np.save(arrays / "labels.npy", LABELS)
    assert len(load_official(arrays, "fog", 5, clean)) == 6


def test_labels_of_other_images_are_refused(arrays: Path, clean: MemoryImages) -> None:
    by_class = replace(clean, labels=clean.labels.sort().values)  # images 0 and 4 get each other's label
    with pytest.raises(DataError, match=r"2 of 6 differ, first at image 0\): name .* in their original order"):
        load_official(arrays, "fog", 1, by_class)


def test_what_the_arrays_lack_is_named(arrays: Path, clean: MemoryImages) -> None:
    np.save(arrays / "snow.npy", np.zeros((5, 4, 5, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="no corruption 'rain': it holds fog, snow"):
        load_official(arrays, "rain", 1, clean)
    for severity in (0, 6):
        with pytest.raises(DataError, match=f"Severity {severity} does not exist"):
            load_official(arrays, "fog", severity, clean)
    with pytest.raises(DataError, match=r"1 images a severity, but six has an image 5"):
        load_official(arrays, "snow", 1, clean)
    with pytest.raises(DataError, match="nowhere is not a folder"):
        load_official(arrays / "nowhere", "fog", 1, clean)
    (arrays / "labels.npy").unlink()
    with pytest.raises(DataError, match=r"labels.npy is missing"):
        load_official(arrays, "fog", 1, clean)


def test_malformed_arrays_are_refused(arrays: Path, clean: MemoryImages) -> None:
    np.save(arrays / "fog.npy", np.zeros((30, 5, 4, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"\(5, 4, 3\) \(H, W, C\), but those of six are \(3, 4, 5\)"):
        load_official(arrays, "fog", 1, clean)
    np.save(arrays / "fog.npy", np.zeros((30, 4, 5, 3)))
    with pytest.raises(DataError, match="must hold uint8 images"):
        load_official(arrays, "fog", 1, clean)
    (arrays / "fog.npy").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"fog.npy is missing or not a NumPy array"):
        load_official(arrays, "fog", 1, clean)


@pytest.fixture
def corrupted_tree(tmp_path: Path, tree: tuple[Path, dict[str, Pixels]], write_image: Writer) -> Path:
    """Official copies of the tree's images at blur, severity 4, as .bmp: their negatives."""
    for file, pixels in tree[1].items():
        write_image(tmp_path / "c" / "blur" / "4" / Path(file).with_suffix(".bmp"), 255 - pixels)
    return tmp_path / "c"


def test_a_tree_is_matched_by_class_and_name(tree: tuple[Path, dict[str, Pixels]], corrupted_tree: Path) -> None:
    clean = load("imagefolder", tree[0], readers=0)
    official = load_official(corrupted_tree, "blur", 4, clean)
    assert isinstance(official, StreamedImages) and official.readers == 0
    original, corrupted = next(clean.batches(12)), next(official.batches(12))
    torch.testing.assert_close(corrupted.images, 1 - original.images)
    assert torch.equal(corrupted.labels, original.labels)
    assert torch.equal(corrupted.indices, original.indices)
    part = load_official(corrupted_tree, "blur", 4, clean.subset(torch.tensor([10, 3])))
    assert next(part.batches(2)).indices.tolist() == [10, 3]
    torch.testing.assert_close(next(part.batches(1)).images, 1 - original.images[10:11])


def test_official_images_of_a_tree_are_not_resized(
    tree: tuple[Path, dict[str, Pixels]], corrupted_tree: Path, write_image: Writer
) -> None:
    clean = load("imagefolder", tree[0])
    write_image(corrupted_tree / "blur" / "4" / "cat" / "0.bmp", np.zeros((20, 20, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"cat/0.bmp has 20x20 pixels"):
        next(load_official(corrupted_tree, "blur", 4, clean).batches(1))


@pytest.mark.parametrize("image_size", [None, 4])
def test_a_damaged_clean_file_needs_no_corrupted_one(
    image_size: int | None,
    tree: tuple[Path, dict[str, Pixels]],
    corrupted_tree: Path,
    cut_short: Callable[[Path], None],
) -> None:
    """Neither of a folder that is decoded at once, nor of one that is streamed."""
    (corrupted_tree / "blur/4/dog/1.bmp").unlink()
    cut_short(tree[0] / "test/dog/1.png")
    clean = load("imagefolder", tree[0], image_size=image_size)
    assert isinstance(clean, DecodedImages if image_size is None else StreamedImages)
    whole = replace(clean, image_shape=(3, 10, 8))
    (batch,) = load_official(corrupted_tree, "blur", 4, whole).batches(12)
    assert batch.indices.tolist() == [0, 1, 2, 3, *range(5, 12)]


def test_what_a_tree_lacks_is_named(
    tree: tuple[Path, dict[str, Pixels]], corrupted_tree: Path, clean: MemoryImages
) -> None:
    images = load("imagefolder", tree[0])
    with pytest.raises(DataError, match="blur has no folder for severity 3: it holds 4; choose with --severities 4"):
        load_official(corrupted_tree, "blur", 3, images)
    with pytest.raises(DataError, match="no corruption 'fog': it holds blur; choose with --corruptions blur --sev"):
        load_official(corrupted_tree, "fog", 4, images)
    with pytest.raises(DataError, match="name the clean images with --data imagefolder"):
        load_official(corrupted_tree, "blur", 4, clean)
    (corrupted_tree / "blur" / "4" / "dog" / "1.bmp").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of the 12 images of tree, such as dog/1"):
        load_official(corrupted_tree, "blur", 4, images)
    assert len(load_official(corrupted_tree, "blur", 4, images.subset(torch.tensor([0, 11])))) == 2


def paired(root: Path, clean_files: Sequence[str], files: Sequence[str], write_image: Writer) -> list[str]:
    """The files that clean ones are paired with."""
    for file in clean_files:
        write_image(root / "photos" / "test" / file, np.zeros((8, 8, 3), dtype=np.uint8))
    for file in files:
        write_image(root / "c" / "blur" / "2" / file, np.ones((8, 8, 3), dtype=np.uint8))
    clean = load("imagefolder", root / "photos")
    assert clean.files == tuple(sorted(clean_files))
    found = load_official(root / "c", "blur", 2, clean)
    assert int(next(found.batches(len(found))).images.mul(255).sum()) == 192 * len(clean)
    return [*found.files]


@pytest.mark.parametrize(
    ("clean_files", "files", "expected"),
    [
        ("a/1.bmp a/1.png", "a/1.bmp a/1.png", "a/1.bmp a/1.png"),
        ("a/1.png", "a/1.bmp a/1.png a/1.tif", "a/1.png"),
        ("a/1.png b/1.bmp", "a/1.bmp b/1.png", "a/1.bmp b/1.png"),
        ("a/s/1.png a/t/1.png b/1.png", "a/s/1.bmp a/t/1.png b/1.bmp", "a/s/1.bmp a/t/1.png b/1.bmp"),
        ("a/s/t/u/1.png a/s/1.png", "a/s/t/u/1.bmp a/s/1.bmp", "a/s/1.bmp a/s/t/u/1.bmp"),
        ("a/1.v2.png a/1.v3.png", "a/1.v3.bmp a/1.v2.bmp", "a/1.v2.bmp a/1.v3.bmp"),
        ("a/1.PNG", "a/1.png", "a/1.png"),
        ("a/1.bmp a/1.png a/2.png", "a/1.bmp a/1.png a/2.bmp a/9.png", "a/1.bmp a/1.png a/2.bmp"),
    ],
)
def test_a_corrupted_file_has_the_path_of_its_clean_one_up_to_a_clear_suffix(
    clean_files: str, files: str, expected: str, tmp_path: Path, write_image: Writer
) -> None:
    assert paired(tmp_path, clean_files.split(), files.split(), write_image) == expected.split()


@pytest.mark.parametrize(
    ("clean_files", "files", "named"),
    [
        ("a/1.png", "a/1.bmp a/1.tif", "a/1.png of photos may belong to a/1.bmp or a/1.tif in "),
        ("a/1.bmp a/1.png", "a/1.png", "a/1.bmp of photos may belong to a/1.png in "),
        ("a/1.bmp a/1.png", "a/1.tif", "a/1.bmp of photos may belong to a/1.tif in "),
        ("a/s/1.png a/s/1.tif a/t/1.png", "a/s/1.png a/t/1.png", "a/s/1.tif of photos may belong to a/s/1.png in "),
    ],
)
def test_files_that_may_belong_to_several_are_refused_by_name(
    clean_files: str, files: str, named: str, tmp_path: Path, write_image: Writer
) -> None:
    with pytest.raises(DataError, match="suffix included") as caught:
        paired(tmp_path, clean_files.split(), files.split(), write_image)
    assert str(caught.value).startswith(named)


@pytest.mark.parametrize("files", ["a/1.png", "a/t/1.png", "b/s/1.png", "a/s/t/1.png", "a/s/1.png/1.png"])
def test_a_file_in_another_folder_is_another_image(files: str, tmp_path: Path, write_image: Writer) -> None:
    with pytest.raises(
        DataError, match=r"lacks 1 of the 1 images of photos, such as a/s/1.png: folders and file names"
    ):
        paired(tmp_path, ["a/s/1.png"], [files], write_image)


@pytest.mark.parametrize(
    ("held", "asked", "told"),
    [
        ("fog/1 fog/3 snow/1 snow/3", "fog/2", "c/fog has no folder for severity 2: it holds 1, 3|--severities 1,3"),
        ("fog/1 fog/3 snow/3 snow/5", "fog/5", "c/fog has no folder for severity 5: it holds 1, 3|--severities 3"),
        ("fog/1 snow/2", "fog/2", "c/fog has no folder for severity 2: it holds 1|--corruptions fog --severities 1"),
        ("fog/1 ice/1", "hail/1", "c has no corruption 'hail': it holds fog, ice|--corruptions fog,ice --severities 1"),
        ("fog/1 fog/2 fog/3 fog/4 fog/5 x/y", "hail/1", "c has no corruption 'hail': it holds fog|--corruptions fog"),
    ],
)  # fmt: skip
def test_what_a_partial_tree_holds_can_be_typed(
    held: str, asked: str, told: str, clean: MemoryImages, tmp_path: Path
) -> None:
    for folder in held.split():
        (tmp_path / "c" / folder).mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        load_official(tmp_path / "c", asked[:-2], int(asked[-1]), clean)
    assert str(caught.value) == f"{tmp_path}/{told.replace('|', '; choose with ')}."


def test_a_folder_without_corruptions_says_where_they_lie(clean: MemoryImages, tmp_path: Path) -> None:
    (tmp_path / "archive" / "noise" / "shot" / "2").mkdir(parents=True)
    for root, told in (
        ("archive", f"type --corrupted-root {tmp_path}/archive/noise."),
        (".", "they must lie in NAME.npy, or in NAME/SEVERITY/CLASS/IMAGE."),
    ):
        with pytest.raises(DataError, match="holds no corruptions") as caught:
            load_official(tmp_path / root, "fog", 1, clean)
        assert str(caught.value).endswith(told)


def test_one_corruption_names_the_folder_of_all(clean: MemoryImages, tmp_path: Path) -> None:
    for severity in range(1, 6):
        (tmp_path / "fog" / str(severity)).mkdir(parents=True)
    with pytest.raises(DataError, match=f"fog is one corruption: type --corrupted-root {tmp_path} --corruptions fog"):
        load_official(tmp_path / "fog", "blur", 1, clean)
