"""Corrupted images are named by the definition that they follow, whoever made them, or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from robustcsc.corruptions import Spec, corrupt, load_spec, select
from robustcsc.corruptions.judging.candidates import Match
from robustcsc.corruptions.judging.folders import judge_folder
from robustcsc.corruptions.judging.judge import Judge, Named
from robustcsc.corruptions.judging.signature import jpeg_trace
from robustcsc.errors import DataError

CIFAR, IMAGENET = load_spec("cifar10_c"), load_spec("imagenet_c")


def only(table: Spec, names: str) -> Spec:
    return replace(table, corruptions={name: table.corruptions[name] for name in select(table, names)})


def scenes(count: int, side: int) -> Tensor:
    """(N, 3, H, W) uint8, coloured clouds with edges: spectra and histograms as wide as those of photographs."""
    rng = np.random.default_rng(0)
    layers = [gaussian_filter(rng.standard_normal((count, 3, side, side)), (0, 0, s, s)) for s in (0.6, 2, 6)]
    fields = (
        sum(layer / layer.std() for layer in layers)
        + gaussian_filter(rng.standard_normal((count, 1, side, side)), (0, 0, 3, 3)) * 10
    )
    fields += np.sign(layers[2] - layers[2].mean())
    return torch.from_numpy((118 + 34 * fields).clip(0, 255).astype(np.uint8))


def through_files(images: Tensor, folder: Path) -> Tensor:
    """The images as Pillow reads them back from JPEG files of quality 85."""
    folder.mkdir(parents=True, exist_ok=True)
    read = []
    for row, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{row}.JPEG", quality=85, subsampling="4:2:0")
        with Image.open(folder / f"{row}.JPEG") as file:
            read.append(torch.from_numpy(np.array(file)))
    return torch.stack(read).permute(0, 3, 1, 2)


def made(clean: Tensor, table: Spec, name: str, severity: int) -> Tensor:
    return corrupt(clean, table, name, severity, seed=123, indices=torch.arange(len(clean)))


CLEAN = scenes(16, 32)


def named_as(judge: Judge, images: Tensor, name: str, severity: int) -> list[tuple[str, str, int]]:
    found = judge.judge(images, Named(name, severity))
    return [(it.definition.table, it.definition.corruption, it.definition.severity) for it in found.fits]


def test_noises_of_like_error_are_told_apart() -> None:
    judge = Judge(CLEAN, [only(CIFAR, "noise"), only(IMAGENET, "gaussian_noise,shot_noise")])
    for table, name, severity in (
        (CIFAR, "gaussian_noise", 1),
        (CIFAR, "shot_noise", 2),
        (CIFAR, "impulse_noise", 2),
        (CIFAR, "speckle_noise", 1),
        (IMAGENET, "gaussian_noise", 2),
        (IMAGENET, "shot_noise", 3),
    ):
        found = named_as(judge, made(CLEAN, table, name, severity), name, severity)
        assert found == [(table.name, name, severity)]


def test_tables_that_agree_are_both_named() -> None:
    judge = Judge(CLEAN, [only(CIFAR, "gaussian_noise"), only(IMAGENET, "gaussian_noise")])
    found = named_as(judge, made(CLEAN, CIFAR, "gaussian_noise", 3), "gaussian_noise", 3)
    assert set(found) == {("cifar10_c", "gaussian_noise", 3), ("imagenet_c", "gaussian_noise", 1)}  # both .08


def test_a_pass_through_jpeg_files_is_seen_and_so_is_what_went_before(tmp_path: Path) -> None:
    clean = scenes(8, 64)
    judge = Judge(clean, [only(IMAGENET, "gaussian_blur,contrast,speckle_noise")])
    for name in ("gaussian_blur", "contrast", "speckle_noise"):
        plain = made(clean, IMAGENET, name, 3)
        saved = through_files(plain, tmp_path)
        assert jpeg_trace(saved) > 0.4 > 0.25 > jpeg_trace(plain)
        for images, quality in ((plain, None), (saved, 85)):
            found = judge.judge(images, Named(name, 3))
            assert found.quality == quality
            assert [(it.definition.corruption, it.definition.severity) for it in found.fits] == [(name, 3)]
            assert found.fits[0].match is (Match.ALIKE if name == "speckle_noise" else Match.IDENTICAL)


def test_elastic_transform_of_imagecorruptions_is_named_with_its_share_of_the_error() -> None:
    side, rng = 96, np.random.default_rng(5)
    clean = scenes(8, side)
    rows, columns = np.mgrid[:side, :side]
    images = []
    for image in clean.numpy():  # the definition of imagecorruptions 1.1.2 at severity 3
        dy, dx = (
            21.25 * gaussian_filter(rng.uniform(-0.005 * side, 0.005 * side, (side, side)), 0.01 * side, truncate=3)
            for _ in "yx"
        )
        moved = [
            map_coordinates(plane.astype(float), (rows + dy, columns + dx), order=1, mode="reflect") for plane in image
        ]
        images.append(np.stack(moved).clip(0, 255).astype(np.uint8))
    judged = Judge(clean, [only(IMAGENET, "elastic_transform")]).judge(
        torch.from_numpy(np.stack(images)), Named("elastic_transform", 3)
    )
    assert [(it.definition.table, it.definition.severity) for it in judged.fits] == [("imagecorruptions", 3)]
    ratio, own = judged.ratios
    original = (made(clean, IMAGENET, "elastic_transform", 3).double() - clean.double()).square().mean()
    assert (ratio.definition.table, own.definition.table) == ("imagenet_c", "imagecorruptions")
    assert own.value == pytest.approx(1.0, abs=4 * own.error)
    assert ratio.value == pytest.approx(judged.error / float(original), rel=0.1)


def test_a_blur_that_changes_nothing_is_the_clean_images() -> None:
    judged = Judge(CLEAN, [only(IMAGENET, "gaussian_blur")]).judge(CLEAN, Named("gaussian_blur", 1))
    assert judged.unchanged and not judged.fits
    assert [it.value for it in judged.ratios] == [0.0]


def test_constants_of_imagenet_c_are_seen_on_small_images() -> None:
    judge = Judge(CLEAN, [only(it, "gaussian_blur,impulse_noise,pixelate") for it in (CIFAR, IMAGENET)])
    for name, severity in (("gaussian_blur", 3), ("impulse_noise", 3), ("pixelate", 5)):
        judged = judge.judge(made(CLEAN, IMAGENET, name, severity), Named(name, severity))
        assert [(it.definition.table, it.definition.severity) for it in judged.fits] == [("imagenet_c", severity)]
        assert [it.definition.table for it in judged.ratios] == ["cifar10_c", "imagenet_c"]
        assert judged.ratios[0].value > 1.3
        assert judged.ratios[1].value == pytest.approx(1.0, abs=4 * judged.ratios[1].error + 1e-9)


def test_what_follows_no_definition_is_unknown() -> None:
    shifted = (CLEAN.float() * torch.tensor((1.2, 0.9, 0.8))[:, None, None]).clamp(0, 255).byte()
    judged = Judge(CLEAN, [only(CIFAR, "weather,saturate,contrast")]).judge(shifted)
    assert judged.fits == () and judged.quality is None and not judged.unchanged
    assert judged.tried == 7 * 5 + 5
    assert judged.error == pytest.approx(float((shifted.double() - CLEAN.double()).square().mean()))


def test_one_image_gives_what_is_certain() -> None:
    one = CLEAN[:1]
    judge = Judge(one, [only(CIFAR, "motion_blur,gaussian_blur")])
    assert named_as(judge, made(one, CIFAR, "gaussian_blur", 2), "gaussian_blur", 2) == [
        ("cifar10_c", "gaussian_blur", 2)
    ]
    several = named_as(judge, made(one, CIFAR, "motion_blur", 3), "motion_blur", 3)
    assert ("cifar10_c", "motion_blur", 3) in several and len(several) > 1


def written(images: Tensor, folder: Path, suffix: str = ".png") -> Path:
    for row, image in enumerate(images):
        path = folder / f"class{row % 2}" / f"{row}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, quality=85)
    return folder


def test_folders_say_what_they_are_called(tmp_path: Path) -> None:
    clean = written(CLEAN, tmp_path / "clean", ".bmp")
    table = only(CIFAR, "brightness,contrast")
    for name in ("brightness", "contrast"):
        for severity in (2, 4):
            written(made(CLEAN, CIFAR, name, severity), tmp_path / "all" / name / str(severity))
    order = [*range(0, 16, 2), *range(1, 16, 2)]  # of class folders and names; 10 comes before 2
    order = sorted(order, key=lambda row: (row % 2, f"{row}.bmp"))
    rows = [made(CLEAN, CIFAR, "contrast", severity)[order].permute(0, 2, 3, 1) for severity in range(1, 6)]
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "contrast.npy", torch.cat(rows).numpy())

    def found(root: Path) -> list[tuple[Named, str, int]]:
        judged = judge_folder(root, clean, [table])
        return [(it.named, *(it.fits[0].definition.corruption, it.fits[0].definition.severity)) for it in judged]

    both = [(Named(name, severity), name, severity) for name in ("brightness", "contrast") for severity in (2, 4)]
    assert found(tmp_path / "all") == both
    assert found(tmp_path / "all" / "contrast") == both[2:]
    assert found(tmp_path / "all" / "contrast" / "4") == [(Named(), "contrast", 4)]
    assert found(tmp_path / "arrays") == [(Named("contrast", it), "contrast", it) for it in range(1, 6)]


def test_a_jpeg_file_says_its_quality(tmp_path: Path) -> None:
    clean = written(CLEAN, tmp_path / "clean")
    corrupted = written(made(CLEAN, CIFAR, "contrast", 5), tmp_path / "jpeg", ".JPEG")
    (judged,) = judge_folder(corrupted, clean, [only(CIFAR, "contrast")])
    assert judged.quality == 85
    assert [it.definition.severity for it in judged.fits] == [5]


def test_images_that_do_not_belong_together_are_one_sentence(tmp_path: Path) -> None:
    clean = written(CLEAN, tmp_path / "clean")
    other, larger = written(CLEAN, tmp_path / "other" / "inner"), written(scenes(2, 40), tmp_path / "larger")
    for corrupted, sentence in (
        (other.parent, r"No image in .*other has its clean one in .*clean: .*inner/class0/0\.png and .* class0/0\.png"),
        (larger, r"has 40 x 40 pixels, but .*0\.png has 32 x 32: give --clean the images at the size"),
        (tmp_path / "none", r"none is not a folder: give --judge one"),
    ):
        with pytest.raises(DataError, match=sentence):
            judge_folder(corrupted, clean, [CIFAR])


@pytest.mark.slow
@pytest.mark.parametrize("table", [CIFAR, IMAGENET], ids=lambda it: it.name)
def test_every_corruption_is_named_with_and_without_a_jpeg_pass(table: Spec, tmp_path: Path) -> None:
    clean = scenes(8 if table is IMAGENET else 48, table.image_size)
    judge, wrong = Judge(clean, [CIFAR, IMAGENET]), []
    for name in table.corruptions:
        for severity in (1, 3, 5):
            plain = made(clean, table, name, severity)
            for images, quality in ((plain, None), (through_files(plain, tmp_path), 85)):
                judged = judge.judge(images)
                fits = [(it.definition.table, it.definition.corruption, it.definition.severity) for it in judged.fits]
                if judged.quality != quality or (table.name, name, severity) not in fits:
                    wrong.append((name, severity, quality, judged))
    assert wrong == []
