import gzip
import importlib
import pickle
import shutil
import struct
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from robustcsc.data import load
from robustcsc.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"
RNG = np.random.default_rng(0)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets torchvision's readers take made-up files, whose checksums differ from the real ones."""
    for module in ("cifar", "svhn"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.check_integrity", lambda path, md5=None: Path(path).exists()
        )


def write_idx(folder: Path, prefix: str, images: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB3I", 0, 8, 3, *images.shape)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, len(labels)) + labels.tobytes())


@pytest.mark.parametrize("name, folder", [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx_files_become_grey_images(tmp_path: Path, name: str, folder: str) -> None:
    images = RNG.integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8) % 10
    write_idx(tmp_path / folder / "raw", "t10k", images, labels)
    write_idx(tmp_path / folder / "raw", "train", images[:3], labels[:3])
    test = load(name, tmp_path)
    np.testing.assert_array_equal(next(test.batches(12)).images.mul(255).round().numpy()[:, 0], images)
    assert test.labels.tolist() == labels.tolist()
    assert len(load(name, tmp_path, "train")) == 3
    assert test.classes[9] == {"mnist": "9", "fashion-mnist": "Ankle boot"}[name]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "name, folder, test_file, key, meta, names",
    [
        ("cifar10", "cifar-10-batches-py", "test_batch", "labels", "batches.meta", "label_names"),
        ("cifar100", "cifar-100-python", "test", "fine_labels", "meta", "fine_label_names"),
    ],
)
def test_cifar_pickles_become_colour_images(
    tmp_path: Path, name: str, folder: str, test_file: str, key: str, meta: str, names: str
) -> None:
    images = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    data = getattr(importlib.import_module("torchvision.datasets"), name.upper())
    (tmp_path / folder).mkdir()
    for file, _ in [*data.train_list, *data.test_list]:
        content = {"data": images.reshape(4, -1), key: [3, 0, 1, 2]}
        (tmp_path / folder / file).write_bytes(pickle.dumps(content))
    (tmp_path / folder / meta).write_bytes(pickle.dumps({names: ["w", "x", "y", "z"]}))
    test = load(name, tmp_path)
    batch = next(test.batches(4))
    np.testing.assert_array_equal(batch.images.mul(255).round().numpy(), images)
    assert (batch.labels.tolist(), test.classes) == ([3, 0, 1, 2], ("w", "x", "y", "z"))
    assert test_file in [file for file, _ in data.test_list]
    (tmp_path / folder / test_file).write_bytes(b"no pickle")
    with pytest.raises(DataError, match=f"{name} is missing, incomplete or damaged in"):
        load(name, tmp_path)


@pytest.mark.usefixtures("unchecked")
def test_svhn_labels_ten_mean_zero(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (32, 32, 3, 3), dtype=np.uint8)
    scipy.io.savemat(tmp_path / "test_32x32.mat", {"X": images, "y": np.array([[10], [1], [9]], dtype=np.uint8)})
    batch = next(load("svhn", tmp_path).batches(3))
    assert batch.labels.tolist() == [0, 1, 9]
    np.testing.assert_array_equal(batch.images[2].mul(255).round().numpy(), images[..., 2].transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "mnist", "fashion-mnist"])
def test_missing_files_are_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"^{name} is missing, incomplete or damaged in .*: add --download, ") as caught:
        load(name, tmp_path)
    assert "download=True" not in str(caught.value)
    with pytest.raises(DataError, match="nowhere is not a folder: give --root the one that holds the files of"):
        load(name, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["cifar10", "svhn", "mnist"])
def test_a_failed_download_is_one_sentence_and_prints_nothing_on_stdout(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match=rf"{name} could not be downloaded to .*no route to host") as caught:
        load(name, tmp_path / "new", download=True)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_real_mnist_has_the_published_counts(tmp_path: Path) -> None:
    if not (SHARED / "mnist").is_dir():
        pytest.skip("the MNIST files are not beside the checkout (shared/data/mnist)")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (SHARED / "mnist").glob("*.gz"):
        with gzip.open(archive) as packed, (raw / archive.stem).open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    test = load("mnist", tmp_path)
    # Counts a digit of the 10,000 test images; the first ones are 7, 2, 1, 0, 4.
    assert test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    train = load("mnist", tmp_path, "train")
    mean = sum(float(batch.images.double().sum()) for batch in train.batches(5000)) / (60000 * 784)
    assert abs(mean - 0.1307) < 5e-5  # the constant every MNIST normalisation uses
