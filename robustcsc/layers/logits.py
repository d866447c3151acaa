"""What a classifier must return: one finite logit per class for every image."""

from __future__ import annotations

from torch import Tensor, nn

from robustcsc.errors import ModelError


def checked_logits(output: object, count: int, num_classes: int | None = None, *, model: str = "The model") -> Tensor:
    """Returns the output of a classifier after checking its form; the values may be anything.

    Args:
        output: What the model returned.
        count: Number of images it was given.
        num_classes: Number of classes of the images; any if ``None``.
        model: Its name, for the message.

    Raises:
        ModelError: It is no tensor ``(count, num_classes)``. The accuracy of a model that was made for other classes
            would be a wrong number without a word.
    """
    shape = tuple(output.shape) if isinstance(output, Tensor) else ()
    if isinstance(output, Tensor) and len(shape) == 2 and shape == (count, num_classes or shape[1]):
        return output
    found = f"logits of shape {shape}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    classes = "" if num_classes is None else f" of {num_classes} classes"
    raise ModelError(
        f"{model} returned {found} for {count} images{classes}: it must return one logit per image and class, (N, K)."
    )


def refuse_not_finite(count: int, total: int, *, model: str = "The model") -> None:
    """Refuses logits that are not numbers: the largest of them says nothing about the image.

    Raises:
        ModelError: `count` is not 0.
    """
    if count:
        raise ModelError(
            f"{model} returned logits that are not finite for {count} of {total} images: check its weights, and what "
            "it does with its input."
        )


def finite_logits(output: object, count: int, *, model: str = "The model") -> Tensor:
    """Returns the output of a classifier after checking its form and its values.

    Raises:
        ModelError: It is no tensor ``(count, K)``, or a logit is infinite or not a number.
    """
    logits = checked_logits(output, count, model=model)
    refuse_not_finite(int((~logits.isfinite().all(dim=1)).sum()), count, model=model)
    return logits


class ChosenLogits(nn.Module):
    """A classifier that answers with some of its logits only.

    Args:
        model: Images ``(N, C, H, W)`` to logits ``(N, K)``.
        chosen: Indices of the logits, on the device of the model; they are the classes ``0, 1, ...`` from now on.

    Examples:
        >>> import torch
        >>> ChosenLogits(nn.Identity(), torch.tensor([3, 0]))(torch.tensor([[0.0, 1.0, 2.0, 3.0]]))
        tensor([[3., 0.]])
    """

    chosen: Tensor

    def __init__(self, model: nn.Module, chosen: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("chosen", chosen, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the chosen logits of images."""
        logits: Tensor = self.model(images)
        return logits[:, self.chosen]
