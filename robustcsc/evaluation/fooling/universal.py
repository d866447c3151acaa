"""Universal perturbations for a measurement: crafted, or taken from the file that keeps them beside a picture.

A prediction counts as changed against the prediction of the same model, under the same lambda policy, for the clean
image: over all images, and over those that are classified as labelled when clean. Images are clamped to [0, 1].

Sources: Moosavi-Dezfooli et al., CVPR 2017; Tang et al., "Deep Transform and Metric Learning Network", section 5.3.2.

Differences from the papers: a universal perturbation is crafted on training images and scored on others, and beside it
stand random perturbations of norm xi, the norm of a perturbation that uses up its budget.
"""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save as serialized
from torch import Tensor

from robustcsc.attacks.universal import UniversalPerturbation, universal_perturbation
from robustcsc.data import ImageSet
from robustcsc.errors import StoreError
from robustcsc.evaluation.attacks.victims import Victim
from robustcsc.files import replacing
from robustcsc.measurements.facts import Count, Fact, Size, digest_of, from_json, sealed, to_json, unsealed
from robustcsc.measurements.perturbations import Universal
from robustcsc.measurements.records import Precision
from robustcsc.measurements.threats import ThreatModel
from robustcsc.models.checkpoint import tensors_digest
from robustcsc.progress import Progress, silent

_TENSOR, _FACTS, _DIGEST = "perturbation", "crafting", "tensor"
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
    if found is not None and found.values.shape != images.image_shape:
        raise StoreError(f"{path} holds a perturbation of other images: delete it, and it is crafted again.")
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
    metadata = {_FACTS: to_json(facts).decode(), "key": key, _DIGEST: tensors_digest({_TENSOR: found.values})}
    drawn, scale = draw_perturbation(found.values)
    told = PngInfo()
    told.add_text("Scale", scale)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, replacing(path.with_suffix(".png")) as picture:
            drawn.save(picture, format="png", pnginfo=told)
            partial.write_bytes(serialized({_TENSOR: found.values.contiguous()}, sealed(metadata)))
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
            metadata, values = unsealed(opened.metadata() or {}), opened.get_tensor(_TENSOR)
        if metadata.get("key") != key:
            return None
        if metadata.get(_DIGEST, "") not in ("", tensors_digest({_TENSOR: values})):
            raise ValueError("its values are not what its SHA-256 says")
        facts = from_json(metadata[_FACTS], _Crafted)
        found = UniversalPerturbation(values=values, **{name: getattr(facts, name) for name in facts.__struct_fields__})
        if values.dtype != torch.float32 or values.ndim != 3 or not values.isfinite().all():
            raise ValueError("its values are no image of finite numbers")
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise StoreError(
            f"{path} is damaged or of another version ({reason}): delete it, and it is crafted again."
        ) from error
    return found


class _Crafted(Fact, frozen=True):
    """What a file tells of a perturbation beside its values."""

    threat: ThreatModel
    images: Count
    fooled: Count
    converged: bool
    passes: Count
    seconds: Size


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
