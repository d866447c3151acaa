"""An evaluator as bytes, for workers in other processes and on other machines.

The weights, images in memory and options travel; of images in files the paths do, and they are read where the worker
is. Progress, and what an evaluator keeps between jobs, stay behind.
"""

from __future__ import annotations

import io
import pickle
import traceback
from dataclasses import replace

import torch

from robustcsc.data import DecodedImages, ImageSet, StreamedImages
from robustcsc.errors import DataError, EngineError, RobustCSCError, error_words, foreign_words
from robustcsc.evaluation.measure import Evaluator


def packed(evaluator: Evaluator) -> bytes:
    """Returns an evaluator as bytes.

    Raises:
        EngineError: Part of it cannot travel, such as a class that is defined inside a function.
    """
    content = io.BytesIO()
    try:
        # The protocol that torch takes by default, 2, cannot write the memory formats of hooks.
        torch.save(evaluator, content, pickle_protocol=pickle.DEFAULT_PROTOCOL)
    except Exception as error:
        raise EngineError(
            f"{evaluator.model.subject.model} cannot be sent to another process ({error_words(error)}): define its "
            "classes and functions in a module that can be imported, or measure in one process."
        ) from error
    return content.getvalue()


def unpacked(content: bytes, device: torch.device) -> Evaluator:
    """Returns the evaluator of `packed`, with its models on a device.

    Raises:
        EngineError: A module that belongs to it cannot be imported here.
    """
    try:
        evaluator: Evaluator = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except Exception as error:
        raise EngineError(
            f"A worker cannot load the model ({error_words(error)}): its code has to be where the worker is, too."
        ) from error
    surrogate = evaluator.inputs.surrogate
    inputs = replace(evaluator.inputs, surrogate=surrogate and surrogate.on(device))
    return replace(evaluator, model=evaluator.model.on(device), inputs=inputs)


def check_images(images: ImageSet, fingerprint: str) -> None:
    """Refuses images of which a worker finds other files than the driver, by reading them all.

    Raises:
        DataError: It does.
    """
    if not isinstance(images, DecodedImages | StreamedImages):
        return
    if not images.root.is_dir():
        raise DataError(f"There is no folder {images.root} where the worker is: copy the images there, or share it.")
    if isinstance(images, StreamedImages):
        images = replace(images, _digests={})  # what was read elsewhere says nothing of the files here
    if images.fingerprint != fingerprint:
        raise DataError(f"Where the worker is, {images.root} holds other images: copy those of the driver there.")


def portable(error: Exception) -> Exception:
    """Returns an error that another process can raise, with a note of where it was raised."""
    found, told = error, "".join(traceback.format_exception(error))
    if not isinstance(error, RobustCSCError) and (words := foreign_words(error, "--debug")):
        found = EngineError(words)  # no traceback travels, which would say so
    try:
        pickle.loads(pickle.dumps(found))
    except Exception:  # whatever a class of somebody else's raises as it is written or read
        found = RobustCSCError(str(error)) if isinstance(error, RobustCSCError) else RuntimeError(error_words(error))
    found.add_note(told)
    return found
