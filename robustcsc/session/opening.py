"""Opening a session."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from robustcsc.data import ImageSet
from robustcsc.errors import DataError
from robustcsc.models.published.names import published
from robustcsc.session.choices import DataChoice, DeviceName, choose_device
from robustcsc.session.measuring import Measuring
from robustcsc.session.models import BuildChoice, adopt_module, find_model
from robustcsc.session.session import Session


# Each parameter names the model in a way of its own, or says where its images lie.
def open(
    name: str | Path | None = None,
    *,
    model: str | nn.Module | None = None,
    weights: str | Path | None = None,
    build: BuildChoice | None = None,
    images: ImageSet | None = None,
    data: DataChoice | None = None,
    device: DeviceName = "auto",
    measuring: Measuring | None = None,
) -> Session:
    """Returns the session of a run, a shipped model, weights from elsewhere, or a module of this process.

    Args:
        name: Name or folder of a run, a shipped model, or a published one (``torchvision:resnet18@IMAGENET1K_V1``,
            ``timm:resnet18.a1_in1k``, ``hf:OWNER/NAME``); without any choice the latest run, or the shipped
            one for textures where there is none. With a module, the name of its run.
        model: A module (images to logits), which is put in evaluation mode and moved to the device; or with
            `weights` a name from the catalog or ``package.module:factory``; or a published model, with or without.
        weights: A state dict for `model`; ``hf:OWNER/NAME`` if it is on the Hub.
        build: Options, normalisation and output of `model`, where they are not the default.
        images: Test images of a module.
        data: Where the images lie, if the run does not say it.
        device: Where to evaluate; ``"auto"`` takes a GPU if there is one.
        measuring: How measuring is done.

    Raises:
        RobustCSCError: There is no such run, model or device, or its weights cannot be loaded.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.open("sdnet-digits")
        >>> sdnet.trained.spec.image_shape, len(sdnet.images().classes)
        ((1, 8, 8), 10)
        >>> sdnet.run.folder.exists()  # nothing is written before something is measured
        False
    """
    place, measuring = choose_device(device), measuring or Measuring()
    data, build = data or DataChoice(), build or BuildChoice()
    if isinstance(model, nn.Module):
        if name is None or images is None:
            raise DataError("A module needs a name for its run, and test images: open(NAME, model=..., images=...).")
        run, trained = adopt_module(model, str(name), images, build)
    else:
        if model is None and name is not None and published(str(name)) is not None:
            name, model = None, str(name)
        wanted, file = None if name is None else str(name), None if weights is None else Path(weights)
        run, trained = find_model(wanted, model, file, data, measuring.note, build)
    return Session(run=run, trained=trained, device=place, data=data, measuring=measuring, test_images=images)
