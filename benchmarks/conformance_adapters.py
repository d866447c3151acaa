"""Other libraries' corruptions of some images, run in an environment that has the library: nothing else is imported.

``python conformance_adapters.py LIBRARY FOLDER`` reads ``clean.npy`` (N, H, W, 3) uint8 and ``plan.json`` (the levels
of the severity table and how many passes) and writes ``<corruption>-<severity>.npy`` (passes, N, H, W, 3) uint8,
truncated as the original truncates, and ``answers.json`` with what happened: "" or the error.

The first four libraries have ImageNet-C's severities. Of torch-uncertainty the classes of the same names are taken. Of
albumentationsx and kornia, which have none, it is the nearest transform with the constants of the table.
"""

import json
import math
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np

RANDOM = ("motion_blur", "snow", "frost", "fog", "elastic_transform", "spatter")  # of few draws an image
NAMES = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    *("speckle_noise", "gaussian_blur", "spatter", "saturate"),
)


def imagenet_c():
    """Its corruptions by name, as functions of an image, a severity and its level."""
    from imagenet_c import corrupt

    return {name: lambda x, s, level, name=name: corrupt(x, severity=s, corruption_name=name) for name in NAMES}


def imagecorruptions():
    """As above."""
    from imagecorruptions import corrupt

    return {name: lambda x, s, level, name=name: corrupt(x, severity=s, corruption_name=name) for name in NAMES}


def imgaug():
    """As above."""
    from imgaug.augmenters import imgcorruptlike

    def call(name):
        function = getattr(imgcorruptlike, f"apply_{name}")
        return lambda x, s, level: function(x, severity=s, seed=int(np.random.randint(2**31)))

    return {name: call(name) for name in NAMES}


def corrupt_tta():
    """As above."""
    from corrupt_tta import corrupt

    return {name: lambda x, s, level, name=name: corrupt(x, severity=s, corruption_name=name) for name in NAMES}


def torch_uncertainty():
    """As above."""
    import torch
    from torch_uncertainty.transforms import corruption as library

    special = {"elastic_transform": "Elastic", "jpeg_compression": "JPEGCompression", "saturate": "Saturation"}

    def call(kind):
        made = {}

        def corrupt(x, s, level):
            change = made.setdefault(s, kind(s))
            return change(torch.from_numpy(x / 255.0).float().permute(2, 0, 1)).permute(1, 2, 0).numpy() * 255.0

        return corrupt

    kinds = {name: special.get(name, name.title().replace("_", "")) for name in NAMES}
    return {name: call(getattr(library, kind)) for name, kind in kinds.items() if hasattr(library, kind)}


def albumentationsx():
    """As above; the nearest transforms."""
    import albumentations as A
    import cv2

    area = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_NEAREST}
    wide = math.sqrt(3.0)  # half width of a uniform draw over its standard deviation
    made = {
        "gaussian_noise": lambda it: A.GaussNoise((it["std"],) * 2, per_channel=True, p=1),
        "shot_noise": lambda it: A.ShotNoise((1 / it["photons"],) * 2, p=1),
        "impulse_noise": lambda it: A.SaltAndPepper((it["share"],) * 2, (0.5, 0.5), p=1),
        "defocus_blur": lambda it: A.Defocus((int(it["radius"]),) * 2, (it["alias_sigma"],) * 2, p=1),
        "glass_blur": lambda it: A.GlassBlur(it["sigma"], int(it["distance"]), int(it["passes"]), "exact", p=1),
        "motion_blur": lambda it: A.MotionBlur(
            (2 * int(it["radius"]) + 1,) * 2, allow_shifted=False, angle_range=(0, 45), direction_range=(0, 0), p=1
        ),
        "zoom_blur": lambda it: A.ZoomBlur((it["last"] + it["step"],) * 2, (it["step"],) * 2, p=1),
        "snow": lambda it: A.RandomSnow(p=1),
        "fog": lambda it: A.RandomFog(p=1),
        "brightness": lambda it: A.RandomBrightnessContrast((it["shift"],) * 2, (0, 0), brightness_by_max=True, p=1),
        "contrast": lambda it: A.ColorJitter((1, 1), (it["factor"],) * 2, (1, 1), (0, 0), p=1),
        "elastic_transform": lambda it: A.ElasticTransform(p=1),
        "pixelate": lambda it: A.Downscale((it["scale"],) * 2, area, p=1),
        "jpeg_compression": lambda it: A.ImageCompression("jpeg", (int(it["quality"]),) * 2, p=1),
        "speckle_noise": lambda it: A.MultiplicativeNoise(
            (max(0.0, 1 - wide * it["std"]), 1 + wide * it["std"]), per_channel=True, elementwise=True, p=1
        ),
        "gaussian_blur": lambda it: A.GaussianBlur((0, 0), (it["sigma"],) * 2, p=1),
        "spatter": lambda it: A.Spatter(
            *((it[key],) * 2 for key in ("mean", "std", "sigma", "threshold", "strength")),
            mode="mud" if it["mud"] else "rain",
            p=1,
        ),
        "saturate": lambda it: A.ColorJitter((1, 1), (1, 1), (it["gain"],) * 2, (0, 0), p=1),
    }

    def call(make):
        def corrupt(x, s, level):
            pipeline = A.Compose([make(level)], seed=int(np.random.randint(2**31)))
            return pipeline(image=x)["image"]

        return corrupt

    return {name: call(make) for name, make in made.items()}


def kornia():
    """As above; the nearest transforms."""
    import kornia.augmentation as K
    import torch

    def odd(side):
        return int(side) // 2 * 2 + 1

    made = {
        "gaussian_noise": lambda it: K.RandomGaussianNoise(0.0, it["std"], p=1.0),
        "impulse_noise": lambda it: K.RandomSaltAndPepperNoise((it["share"],) * 2, (0.5, 0.5), p=1.0),
        "motion_blur": lambda it: K.RandomMotionBlur(2 * int(it["radius"]) + 1, (-45.0, 45.0), 0.0, p=1.0),
        "snow": lambda it: K.RandomSnow(p=1.0),
        "brightness": lambda it: K.RandomBrightness((1 + it["shift"],) * 2, p=1.0),
        "contrast": lambda it: K.RandomContrast((it["factor"],) * 2, p=1.0),
        "elastic_transform": lambda it: K.RandomElasticTransform((63, 63), (32.0, 32.0), (1.0, 1.0), p=1.0),
        "jpeg_compression": lambda it: K.RandomJPEG((float(it["quality"]),) * 2, p=1.0),
        "gaussian_blur": lambda it: K.RandomGaussianBlur((odd(8 * it["sigma"]),) * 2, (it["sigma"],) * 2, p=1.0),
        "saturate": lambda it: K.RandomSaturation((it["gain"],) * 2, p=1.0),
    }

    def call(make):
        def corrupt(x, s, level):
            image = torch.from_numpy(x / 255.0).float().permute(2, 0, 1)[None]
            return make(level)(image)[0].permute(1, 2, 0).numpy() * 255.0

        return corrupt

    return {name: call(make) for name, make in made.items()}


def seed_all(seed):
    """Seeds what a library may draw from."""
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def as_bytes(image):
    """uint8; of floats in 0..255 truncated, clear of the rounding of a division and a product."""
    image = np.asarray(image)
    return image if image.dtype == np.uint8 else (np.clip(image, 0, 255) + 1e-4).clip(0, 255).astype(np.uint8)


def main(library, folder):
    """Corrupts the images of a folder."""
    warnings.simplefilter("ignore")
    folder = Path(folder)
    clean, plan, answers = np.load(folder / "clean.npy"), json.loads((folder / "plan.json").read_text()), {}
    try:
        functions = globals()[library.replace("-", "_")]()
    except Exception as error:
        (folder / "answers.json").write_text(json.dumps({"": f"{type(error).__name__}: {error}"[:200]}))
        return
    for name, function in functions.items():
        if name not in plan["levels"]:
            continue
        for severity in plan["severities"]:
            key = f"{name}-{severity}"
            try:
                passes = []
                for number in range(plan["passes"] * (plan["more"] if name in RANDOM else 1)):
                    seed_all(1000 * severity + number)
                    level = plan["levels"][name][severity - 1]
                    passes.append([as_bytes(function(image.copy(), severity, level)) for image in clean])
                    if number == 1 and np.array_equal(*passes):
                        break  # not random
                np.save(folder / f"{key}.npy", np.stack(passes))
                answers[key] = ""
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1].name
                answers[key] = f"{type(error).__name__} in {where}: {error}".replace("\n", " ")[:160]
            (folder / "answers.json").write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
