"""Universal perturbations for a measurement: crafted, or taken from the file that keeps them beside a picture.

A prediction counts as changed against the prediction of the same model, under the same lambda policy, for the clean
image: over all images, and over those that are classified as labelled when clean. Images are clamped to [0, 1].

Sources: Moosavi-Dezfooli et al., CVPR 2017; Tang et al., "Deep Transform and Metric Learning Network", section 5.3.2.

Differences from the papers: a universal perturbation is crafted on training images and scored on others, and beside it
stand random perturbations of norm xi, the norm of a perturbation that uses up its budget.
"""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from torch import Tensor

from robustcsc.attacks.universal import UniversalPerturbation, universal_perturbation
from robustcsc.data import ImageSet
from robustcsc.errors import StoreError
from robustcsc.evaluation.attacks.victims import Victim
from robustcsc.files import replacing
from robustcsc.measurements.facts import digest_of, from_plain, to_json
from robustcsc.measurements.perturbations import Universal
from robustcsc.measurements.records import Precision
from robustcsc.measurements.threats import ThreatModel
from robustcsc.progress import Progress, silent

_TENSOR, _FACTS = "perturbation", "crafting"
_PICTURE_WIDTH, _CAPTION_HEIGHT = 288, 16  # pixels; small images are enlarged to at least this width


def crafted_or_kept(
    universal: Universal,
    victim: Victim,
    images: ImageSet,
    folder: Path,
    *,
    precision: Precision = "fp32",
    device: torch.device,
    remeasure: bool = False,
    progress: Progress = silent,
) -> tuple[UniversalPerturbation, str]:
    """Returns a universal perturbation and the name of its file; a file that is there is not crafted again.

    It is crafted on `victim`, which computes in `precision`, and on `images`; with `remeasure` anew, whatever the
    folder keeps.

    Raises:
        AttackError: No finite gradient reaches the images.
        StoreError: The file is damaged or cannot be written.
    """
    threat, crafting = universal.threat, universal.crafting
    more = () if precision == "fp32" else (precision,)
    key = digest_of((victim.weights, victim.policy, threat, crafting, *more))
    path = folder / f"uap-{threat.norm}-{threat.epsilon:g}-{key[:8]}.safetensors"
    found = None if remeasure else load_perturbation(path, key)
    if found is None:
        found = universal_perturbation(
            victim.model,
            images,
            threat,
            delta=crafting.delta,
            passes=crafting.passes,
            batch_size=crafting.batch_size,
            seed=crafting.seed,
            device=device,
            progress=progress,
        )
        save_perturbation(path, found, key)
    return found, path.name


def save_perturbation(path: Path, found: UniversalPerturbation, key: str) -> None:
    """Writes the values as safetensors to `path`, and beside them a picture with the ending ``.png``.

    The folder is made if it does not exist; `key` names everything that decides the values.

    Raises:
        StoreError: The files cannot be written.
    """
    facts = {name: getattr(found, name) for name in ("threat", "images", "fooled", "converged", "passes", "seconds")}
    metadata = {_FACTS: to_json(facts).decode(), "key": key}
    drawn, scale = draw_perturbation(found.values)
    told = PngInfo()
    told.add_text("Scale", scale)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, replacing(path.with_suffix(".png")) as picture:
            drawn.save(picture, format="png", pnginfo=told)
            save_file({_TENSOR: found.values.contiguous()}, partial, metadata)
    except OSError as error:
        raise StoreError(f"The perturbation cannot be written to {path}: {error.strerror or error}.") from error


def load_perturbation(path: Path, key: str) -> UniversalPerturbation | None:
    """Returns the perturbation in a file, or ``None`` if there is no file or it was made in another way.

    Raises:
        StoreError: The file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, "pt") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("key") != key:
                return None
            facts = json.loads(metadata[_FACTS])
            threat = from_plain(facts.pop("threat"), ThreatModel)
            return UniversalPerturbation(values=opened.get_tensor(_TENSOR), threat=threat, **facts)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged or of another version: delete it, and it is crafted again.") from error


def draw_perturbation(values: Tensor) -> tuple[Image.Image, str]:
    """Returns a picture of a perturbation with a caption, and its scale in words.

    Zero is the middle grey, 127.5; the largest absolute value is 0 or 255. Small perturbations are enlarged by a whole
    number.

    Args:
        values: (C, H, W), in pixel units of [0, 1], with 1 or 3 channels; of others the first is drawn.
    """
    from torchvision.transforms.functional import to_pil_image  # only here: as slow to import as torch

    shown = values if len(values) == 3 else values[:1]
    largest = float(values.abs().max())
    levels = 127.5 + 127.5 * shown / (largest or 1.0)
    picture = to_pil_image(levels.round().clamp(0, 255).to(torch.uint8))
    enlarged = max(1, -(-_PICTURE_WIDTH // picture.width))
    width, height = picture.width * enlarged, picture.height * enlarged
    whole = Image.new("RGB", (width, height + _CAPTION_HEIGHT), "white")
    whole.paste(picture.resize((width, height), Image.Resampling.NEAREST), (0, 0))
    scale = f"0 to 255 is -{largest:.4g} to {largest:.4g}"
    ImageDraw.Draw(whole).text((4, height + 2), scale, fill="black")
    return whole, scale
