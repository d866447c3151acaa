"""What is done at test time beside choosing lambda, in words."""

from __future__ import annotations

from collections.abc import Mapping

from robustcsc.measurements.adaptations import Adaptation, BatchStatistics, Denoise, Order, Shift, Tent

#: What gradients an attacker takes through what is done at test time.
GRADIENTS: Mapping[type[Adaptation], str] = {
    BatchStatistics: "gradients pass through the statistics of the attacked batch",
    Shift: "gradients pass through the statistics of the attacked batch, and follow the answer that is given",
    Tent: "gradients pass through the statistics of the attacked batch, and hold the adapted parameters fixed",
    Denoise: "gradients pass the denoiser as if it changed nothing (BPDA)",
}

_ORDERS = {Order.GIVEN: "in the order given", Order.CLASS: "sorted by class"}
_DENOISERS = {"wavelet": "wavelet denoising", "tv": "total-variation denoising", "nlm": "non-local means"}


def adaptation_words(made: Adaptation) -> str:
    """Returns in words what is done at test time beside choosing lambda.

    Examples:
        >>> from robustcsc.measurements.adaptations import parse_adaptation
        >>> adaptation_words(parse_adaptation("bn:batch=16:prior=64:order=class"))
        'batch-norm statistics of 16 images (sorted by class, prior 64)'
    """
    if isinstance(made, Denoise):
        return _DENOISERS[made.method]
    shuffled = [f"shuffled with seed {made.seed}"] if made.seed else []
    more = [_ORDERS[made.order]] if made.order in _ORDERS else shuffled
    if isinstance(made, BatchStatistics):
        words = f"batch-norm statistics of {made.batch} images"
        more += [f"prior {made.prior}"] if made.prior else []
    elif isinstance(made, Shift):
        words = f"shift of batches of {made.batch} undone"
    else:
        words = f"TENT on batches of {made.batch}"
        more += [f"learning rate {made.learning_rate:g}"] if made.learning_rate != Tent().learning_rate else []
        more += [f"{made.steps} steps"] if made.steps > 1 else []
        more += ["episodic"] if made.episodic else []
    return f"{words} ({', '.join(more)})" if more else words
