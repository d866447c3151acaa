"""Universal perturbations as files: the values with how they were made, and a picture of them."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from torch import Tensor

from robustcsc.attacks.universal import UniversalPerturbation
from robustcsc.errors import StoreError
from robustcsc.files import replacing
from robustcsc.measurements.facts import from_plain, to_json
from robustcsc.measurements.threats import ThreatModel

_TENSOR, _FACTS = "perturbation", "crafting"
_PICTURE_WIDTH, _CAPTION_HEIGHT = 288, 16  # pixels; small images are enlarged to at least this width


def save_perturbation(path: Path, made: UniversalPerturbation, key: str) -> None:
    """Writes the values as safetensors to `path`, and beside them a picture with the ending ``.png``.

    Args:
        path: The file, with the ending ``.safetensors``; its folder is made if it does not exist.
        made: The perturbation.
        key: Names everything that decides the values; `load_perturbation` asks for it.

    Raises:
        StoreError: The files cannot be written.
    """
    facts = {name: getattr(made, name) for name in ("threat", "images", "fooled", "converged", "passes", "seconds")}
    metadata = {_FACTS: to_json(facts).decode(), "key": key}
    drawn, scale = draw_perturbation(made.values)
    told = PngInfo()
    told.add_text("Scale", scale)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, replacing(path.with_suffix(".png")) as picture:
            drawn.save(picture, format="png", pnginfo=told)
            save_file({_TENSOR: made.values.contiguous()}, partial, metadata)
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
    shown = values if len(values) == 3 else values[:1]
    largest = float(values.abs().max())
    levels = 127.5 + 127.5 * shown / (largest or 1.0)
    pixels = levels.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    enlarged = max(1, -(-_PICTURE_WIDTH // picture.width))
    width, height = picture.width * enlarged, picture.height * enlarged
    whole = Image.new("RGB", (width, height + _CAPTION_HEIGHT), "white")
    whole.paste(picture.resize((width, height), Image.Resampling.NEAREST), (0, 0))
    scale = f"0 to 255 is -{largest:.4g} to {largest:.4g}"
    ImageDraw.Draw(whole).text((4, height + 2), scale, fill="black")
    return whole, scale
