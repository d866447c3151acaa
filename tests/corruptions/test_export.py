"""Exported files: the published layouts, one image at a time the same pixels, and stopped exports that go on."""

from __future__ import annotations

import errno
import io
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, JpegImagePlugin
from torch import Tensor

from robustcsc.corruptions import Spec, corrupt, load_spec
from robustcsc.corruptions.apply import stored
from robustcsc.corruptions.export import Export
from robustcsc.corruptions.manifest import MANIFEST, load_corrupted, read_manifest
from robustcsc.data import Batch, ImageSet, MemoryImages, load
from robustcsc.data import folder as folder_module
from robustcsc.errors import DataError
from robustcsc.measurements.perturbations import Pixels, Source

LABELS = [2, 0, 1, 1, 0, 2, 1]
NOISES = ("gaussian_noise", "impulse_noise")


@pytest.fixture
def spec() -> Spec:
    return load_spec("cifar10_c")


@pytest.fixture
def seven() -> MemoryImages:
    """Seven random 6x5 colour images."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (7, 3, 6, 5), dtype=np.uint8))
    return MemoryImages(
        name="seven",
        split="test",
        classes=("a", "b", "c"),
        pixels=pixels,
        labels=torch.tensor(LABELS),
        positions=torch.arange(7),
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An image folder: two classes of two and three smooth 48x40 colour images."""
    height, width = np.mgrid[0:48, 0:40]
    for number, file in enumerate(("cat/n1.JPEG", "cat/n2.png", "dog/m1.png", "dog/m2.jpg", "dog/m3.png")):
        path = tmp_path / "tree" / "test" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.stack((4 * height, 5 * width, 40 * number + 0 * height), axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "tree"


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no image folder be kept in memory."""
    monkeypatch.setattr(folder_module, "MEMORY_LIMIT_BYTES", 0)


def alone(images: ImageSet, spec: Spec, corruption: str, severity: int, row: int, seed: int) -> npt.NDArray[np.uint8]:
    """(H, W, C) levels of one image that was corrupted by itself, by the published rule floor(255 y)."""
    batch = next(images.batches(1, order=torch.tensor([row])))
    result = corrupt(batch.images, spec, corruption, severity, seed=seed, indices=batch.indices)
    return np.asarray(np.floor(result[0].numpy() * np.float32(255)).astype(np.uint8).transpose(1, 2, 0))


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def stopping_at(label: str) -> Callable[[str, float, float], None]:
    """Progress that presses Ctrl-C after the first batch of a label."""

    def progress(current: str, now: float, total: float) -> None:
        if current == label:
            raise KeyboardInterrupt

    return progress


def test_an_array_holds_severity_after_severity_in_the_order_of_the_images(
    seven: MemoryImages, spec: Spec, tmp_path: Path
) -> None:
    export = Export(images=seven, spec=spec, form="cifar-c", seed=3, batch_size=3)
    assert export.write(tmp_path / "out", NOISES) == [tmp_path / "out" / f"{name}.npy" for name in NOISES]
    for name in NOISES:
        array = np.load(tmp_path / "out" / f"{name}.npy")
        assert (array.dtype, array.shape) == (np.uint8, (35, 6, 5, 3))
        for severity in (1, 3, 5):
            for row in range(7):
                expected = alone(seven, spec, name, severity, row, seed=3)
                np.testing.assert_array_equal(array[(severity - 1) * 7 + row], expected)
        content = io.BytesIO()
        np.save(content, array)
        assert (tmp_path / "out" / f"{name}.npy").read_bytes() == content.getvalue()
    labels = np.load(tmp_path / "out" / "labels.npy")
    assert labels.dtype == np.uint8  # as make_cifar_c.py writes them
    assert labels.tolist() == LABELS * 5


def test_labels_above_255_are_kept(seven: MemoryImages, spec: Spec, tmp_path: Path) -> None:
    many = replace(seven, classes=tuple(map(str, range(300))), labels=torch.tensor([299, 256, 255, 0, 1, 2, 3]))
    Export(images=many, spec=spec, form="cifar-c").write(tmp_path, ["gaussian_noise"])
    assert np.load(tmp_path / "labels.npy")[:3].tolist() == [299, 256, 255]


def test_files_do_not_depend_on_the_batch_size(seven: MemoryImages, spec: Spec, tmp_path: Path) -> None:
    for size in (2, 7):
        Export(images=seven, spec=spec, form="cifar-c", batch_size=size).write(tmp_path / str(size), NOISES)
    assert contents(tmp_path / "2") == contents(tmp_path / "7")


def test_arrays_are_read_back_as_the_published_ones_are(seven: MemoryImages, spec: Spec, tmp_path: Path) -> None:
    Export(images=seven, spec=spec, form="cifar-c").write(tmp_path, ["shot_noise"])
    rows = torch.tensor([5, 2])
    batch = next(load_corrupted(tmp_path, "shot_noise", 4, seven.subset(rows)).batches(2))
    for image, row in zip(batch.images, rows.tolist(), strict=True):
        expected = alone(seven, spec, "shot_noise", 4, row, seed=0)
        torch.testing.assert_close(image, torch.from_numpy(expected).permute(2, 0, 1) / 255, rtol=0, atol=0)


def test_a_part_of_a_data_set_is_read_back_for_that_part_only(seven: MemoryImages, spec: Spec, tmp_path: Path) -> None:
    part = seven.subset(torch.tensor([1, 4, 6]))
    Export(images=part, spec=spec, form="cifar-c").write(tmp_path, ["gaussian_noise"])
    batch = next(load_corrupted(tmp_path, "gaussian_noise", 5, part).batches(3))
    assert batch.indices.tolist() == [1, 4, 6]
    expected = alone(seven, spec, "gaussian_noise", 5, 6, seed=0)  # an image keeps the noise of its position
    np.testing.assert_array_equal(batch.images[2].mul(255).round().permute(1, 2, 0).to(torch.uint8).numpy(), expected)
    for other in (seven, seven.subset(torch.tensor([0, 1, 2]))):
        with pytest.raises(DataError, match="was exported for 3 chosen images of seven: take the same ones"):
            load_corrupted(tmp_path, "gaussian_noise", 5, other)


@pytest.mark.usefixtures("streamed")
def test_a_tree_is_stored_as_imagenet_c_was(tree: Path, spec: Spec, tmp_path: Path) -> None:
    images = load("imagefolder", tree, readers=0)
    out = tmp_path / "out"
    paths = Export(images=images, spec=spec, form="imagenet-c").write(out, ["gaussian_noise"], (2, 5))
    assert paths == [out / "gaussian_noise" / "2", out / "gaussian_noise" / "5"]
    assert sorted(set(contents(out)) - {MANIFEST}) == sorted(
        f"gaussian_noise/{severity}/{file}.JPEG"
        for severity in (2, 5)
        for file in ("cat/n1", "cat/n2", "dog/m1", "dog/m2", "dog/m3")
    )
    path = out / "gaussian_noise" / "5" / "dog" / "m1.JPEG"
    expected = alone(images, spec, "gaussian_noise", 5, 2, seed=0)
    with Image.open(path) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        # Quality 85 scales the table of ITU T.81, Annex K (16 11 10 ... 99) by 30 %: round(4.8), round(3.3), ...
        assert [image.quantization[0][place] for place in (0, 1, 63)] == [5, 3, 30]
        assert JpegImagePlugin.get_sampling(image) == 2  # 4:2:0
        luminance = (np.asarray(image).astype(float) - expected) @ (0.299, 0.587, 0.114)
        levels = torch.from_numpy(np.asarray(image).copy())
    swept = stored(torch.from_numpy(expected).permute(2, 0, 1)[None], Pixels.JPEG)
    assert torch.equal(swept[0].permute(1, 2, 0), levels)  # without files, a sweep stores images the same way
    assert 0 < np.abs(luminance).mean() < 5  # noise of the colours alone is lost by subsampling
    plain = io.BytesIO()
    Image.fromarray(expected).save(plain, "JPEG", quality=85, subsampling="4:2:0")
    assert path.stat().st_size < len(plain.getvalue())  # optimised


def test_png_trees_are_read_back_to_the_pixel(tree: Path, spec: Spec, tmp_path: Path) -> None:
    images = load("imagefolder", tree, readers=0)
    Export(images=images, spec=spec, form="imagenet-c", png=True, batch_size=2).write(tmp_path / "out", NOISES, (4,))
    read = next(replace(load_corrupted(tmp_path / "out", "impulse_noise", 4, images), readers=0).batches(5))  # type: ignore[type-var]
    for row in range(5):
        expected = alone(images, spec, "impulse_noise", 4, row, seed=0)
        np.testing.assert_array_equal(read.images[row].mul(255).round().permute(1, 2, 0).numpy(), expected)
    assert read.labels.tolist() == [0, 0, 1, 1, 1]


def test_a_stopped_export_of_arrays_goes_on_with_the_missing_ones(
    seven: MemoryImages, spec: Spec, tmp_path: Path
) -> None:
    export = Export(images=seven, spec=spec, form="cifar-c", batch_size=3)
    export.write(tmp_path / "whole", NOISES)
    with pytest.raises(KeyboardInterrupt):
        replace(export, progress=stopping_at("impulse_noise 2")).write(tmp_path / "stopped", NOISES)
    assert sorted(contents(tmp_path / "stopped")) == ["gaussian_noise.npy", "labels.npy", MANIFEST]
    seen: list[str] = []
    replace(export, progress=lambda label, done, total: seen.append(label)).write(tmp_path / "stopped", NOISES)
    assert sorted(set(seen)) == [f"impulse_noise {severity}" for severity in range(1, 6)]
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_stopped_export_of_a_tree_goes_on_with_the_missing_images(tree: Path, spec: Spec, tmp_path: Path) -> None:
    export = Export(images=load("imagefolder", tree), spec=spec, form="imagenet-c", batch_size=2)
    export.write(tmp_path / "whole", ["shot_noise"], (1, 2))
    with pytest.raises(KeyboardInterrupt):
        replace(export, progress=stopping_at("shot_noise 2")).write(tmp_path / "stopped", ["shot_noise"], (1, 2))
    assert (tmp_path / "stopped" / "shot_noise" / "1").is_dir()
    assert not (tmp_path / "stopped" / "shot_noise" / "2").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "stopped").rglob("2.partial/*/*.JPEG")}
    assert sorted(kept) == ["n1.JPEG", "n2.JPEG"]
    shares: list[float] = []
    replace(export, progress=lambda label, done, total: shares.append(done / total)).write(
        tmp_path / "stopped", ["shot_noise"], (1, 2)
    )
    # In batches of two: the three images of the second severity that were missing, and one more.
    assert shares == [0.75, 1.0]
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_second_run_writes_nothing_and_adds_what_is_new(seven: MemoryImages, spec: Spec, tmp_path: Path) -> None:
    export = Export(images=seven, spec=spec, form="cifar-c")
    export.write(tmp_path, ["gaussian_noise"])
    first = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    export.write(tmp_path, ["impulse_noise", "gaussian_noise"])
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in first} == first
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert (manifest.seed, manifest.images, manifest.table) == (0, seven.fingerprint, spec.table)


@pytest.mark.parametrize(
    ("settings", "pixels"),
    [
        ({"form": "cifar-c"}, Pixels.BYTES),
        ({"form": "imagenet-c"}, Pixels.JPEG),
        ({"form": "imagenet-c", "png": True}, Pixels.BYTES),
    ],
)
def test_the_manifest_says_what_was_done_to_the_images(
    settings: dict[str, Any], pixels: Pixels, tree: Path, spec: Spec, tmp_path: Path
) -> None:
    export = Export(images=load("imagefolder", tree, readers=0), spec=spec, seed=6, **settings)
    export.write(tmp_path / "out", ["shot_noise"])
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    made = manifest.corruption("shot_noise", 4)
    assert (made.name, made.severity, made.seed, made.files) == ("shot_noise", 4, 6, "")
    assert (made.table, made.source, made.pixels) == (spec.table, Source.EXPORTED, pixels)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"spec": load_spec("imagenet_c")}, "table 'cifar10_c@"),
        ({"images": "fewer"}, "images '"),
        ({"images": "inverted"}, "images '"),
        ({"form": "imagenet-c"}, "form 'cifar-c', not 'imagenet-c'"),
    ],
)
def test_other_settings_are_refused_in_the_same_folder(
    change: dict[str, Any], named: str, seven: MemoryImages, spec: Spec, tmp_path: Path
) -> None:
    named_files = replace(seven, files=tuple(f"{'abc'[label]}/{row}.png" for row, label in enumerate(LABELS)))
    export = Export(images=named_files, spec=spec, form="cifar-c")
    export.write(tmp_path, ["gaussian_noise"])
    before = contents(tmp_path)
    images = {"fewer": named_files.subset(torch.arange(6)), "inverted": replace(named_files, pixels=255 - seven.pixels)}
    changed = {key: images.get(value, value) if key == "images" else value for key, value in change.items()}
    with pytest.raises(DataError, match="holds images exported with") as caught:
        replace(export, **changed).write(tmp_path, ["gaussian_noise"])
    assert named in str(caught.value)
    assert contents(tmp_path) == before


def test_an_export_resumes_when_the_clean_images_have_another_name(
    seven: MemoryImages, spec: Spec, tmp_path: Path
) -> None:
    export = Export(images=seven, spec=spec, form="cifar-c")
    export.write(tmp_path, ["gaussian_noise"])
    written = replace(export, images=replace(seven, name="renamed")).write(tmp_path, ["gaussian_noise", "fog"])
    assert [path.name for path in written] == ["gaussian_noise.npy", "fog.npy"]


def test_folders_of_others_are_left_alone(seven: MemoryImages, spec: Spec, tmp_path: Path) -> None:
    (tmp_path / "gaussian_noise.npy").write_bytes(b"published")
    export = Export(images=seven, spec=spec, form="cifar-c")
    with pytest.raises(DataError, match="holds files that were not exported by robustcsc"):
        export.write(tmp_path, ["gaussian_noise"])
    assert contents(tmp_path) == {"gaussian_noise.npy": b"published"}


@pytest.mark.parametrize("content", ["", "[]", '{"seed": 0}', "\xff"])
def test_a_damaged_manifest_is_reported(content: str, seven: MemoryImages, spec: Spec, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(DataError, match=r"robustcsc\.json is damaged or of another version"):
        Export(images=seven, spec=spec, form="cifar-c").write(tmp_path, ["gaussian_noise"])
    with pytest.raises(DataError, match=r"robustcsc\.json is damaged or of another version"):
        load_corrupted(tmp_path, "gaussian_noise", 1, seven)


def test_what_a_form_cannot_hold_is_refused_before_anything_is_made(
    seven: MemoryImages, spec: Spec, tmp_path: Path
) -> None:
    twice = replace(seven, files=tuple(f"a/{row // 2}.{'png' if row % 2 else 'jpg'}" for row in range(7)))
    refusals: list[tuple[MemoryImages, dict[str, Any], tuple[int, ...], str]] = [
        (seven, {"form": "cifar-c"}, (1, 2), "holds all five severities"),
        (seven, {"form": "cifar-c", "png": True}, (1, 2, 3, 4, 5), "leave --png out, or choose --format imagenet-c"),
        (seven, {"form": "imagenet-c"}, (1,), "seven has no file names"),
        (twice, {"form": "imagenet-c"}, (1,), "Two images are called a/0"),
    ]
    for images, settings, severities, message in refusals:
        with pytest.raises(DataError, match=message):
            Export(images=images, spec=spec, **settings).write(tmp_path / "out", ["gaussian_noise"], severities)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_reported(seven: MemoryImages, spec: Spec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file" / "out", tmp_path / "file"):
        with pytest.raises(DataError, match=r"cannot be written \(.+\): choose another --out"):
            Export(images=seven, spec=spec, form="cifar-c").write(out, ["gaussian_noise"])
    assert contents(tmp_path) == {"file": b"not a folder"}


@pytest.mark.parametrize(
    ("form", "name", "left"),
    [
        ("cifar-c", MANIFEST, set()),
        ("cifar-c", "labels.npy", set()),
        ("cifar-c", "gaussian_noise.npy", set()),
        ("imagenet-c", MANIFEST, set()),
        ("imagenet-c", "0.JPEG", set()),
        ("imagenet-c", "1.JPEG", {MANIFEST, "0.JPEG"}),  # whole images stay: the export goes on with the second one
    ],
)
def test_a_full_disk_leaves_nothing_half_written(
    form: Any,
    name: str,
    left: set[str],
    seven: MemoryImages,
    spec: Spec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Path.replace

    def full(self: Path, target: str | Path) -> Path:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return whole(self, target)

    monkeypatch.setattr(Path, "replace", full)
    images = replace(seven, files=tuple(f"a/{row}.png" for row in range(7)))
    export = Export(images=images, spec=spec, form=form, batch_size=1)
    with pytest.raises(OSError, match="No space left"):
        export.write(tmp_path / "new" / "out", ["gaussian_noise"], (1, 2, 3, 4, 5))
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == left
    assert bool(list(tmp_path.iterdir())) == bool(left)


@pytest.mark.usefixtures("streamed")
def test_damaged_images_are_left_out_of_a_tree_and_refused_for_an_array(tree: Path, spec: Spec, tmp_path: Path) -> None:
    (tree / "test" / "dog" / "m2.jpg").write_bytes(b"no image")

    def export(form: Any) -> Export:
        return Export(images=load("imagefolder", tree, readers=0), spec=spec, form=form, batch_size=2)

    with pytest.raises(DataError, match=r"m2\.jpg is not a readable image, but the form cifar-c needs all of them"):
        export("cifar-c").write(tmp_path / "array", ["gaussian_noise"])
    assert not (tmp_path / "array").exists()
    with pytest.raises(KeyboardInterrupt):  # all that can be read is written, and only the damaged one is missing
        replace(export("imagenet-c"), progress=stopping_at("gaussian_noise 1")).write(
            tmp_path / "out", ["gaussian_noise"], (1,)
        )
    export("imagenet-c").write(tmp_path / "out", ["gaussian_noise"], (1,))
    assert len(list((tmp_path / "out" / "gaussian_noise" / "1").rglob("*.JPEG"))) == 4


def test_no_batch_is_kept(seven: MemoryImages, spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    whole = MemoryImages.batches

    def watched(self: MemoryImages, batch_size: int, **settings: Any) -> Iterator[Batch]:
        for batch in whole(self, batch_size, **settings):
            given.append(weakref.ref(batch.images))
            alive.append(sum(reference() is not None for reference in given))
            yield batch

    monkeypatch.setattr(MemoryImages, "batches", watched)
    Export(images=seven, spec=spec, form="cifar-c", batch_size=1).write(tmp_path, ["gaussian_noise"])
    assert len(alive) == 1 + 7 * 5  # one image is tried first
    assert max(alive) <= 2
