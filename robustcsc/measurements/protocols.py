"""How an attack meets lambda: which model it differentiates through, and at which lambda the result is scored.

Source of ``static``: SDNet (Dai et al., NeurIPS 2022), section 4.3 and table 4.

Differences from the paper: it crafts adversarial images at the training lambda and tunes lambda afterwards, which is a
transfer test. That protocol is called ``static`` here and stands beside those whose attacker knows the lambda:

| protocol | the attacker differentiates through | scored |
|---|---|---|
| plain | the model at its training lambda (or without any) | there |
| static | the model at its training lambda | at the lambda that the fit gives for the adversarial images |
| tuned | the same | at the best lambda of the grid by the test labels: a static record with the policy oracle |
| fixed | the model at one lambda, for each of several | there |
| adaptive | image, residual and the lambda predicted for every image | under that policy |
| grid | the mean loss over several lambdas | an image has to be right at all of them |
| transfer | another model | at the training lambda, and under the adaptive policy |
| black-box | nothing: it asks for logits of the adaptive policy only | under that policy |
"""

from __future__ import annotations

from enum import StrEnum


class Protocol(StrEnum):
    """How an attack meets lambda, as the table of this module says; the value is what people type."""

    PLAIN = "plain"
    STATIC = "static"
    TUNED = "tuned"
    FIXED = "fixed"
    ADAPTIVE = "adaptive"
    GRID = "grid"
    TRANSFER = "transfer"
    BLACK_BOX = "black-box"

    @property
    def needs_lambda(self) -> bool:
        """Whether the model must have a layer of sparse coding."""
        return self in (Protocol.STATIC, Protocol.TUNED, Protocol.FIXED, Protocol.ADAPTIVE, Protocol.GRID)

    @property
    def needs_fit(self) -> bool:
        """Whether the run must have a lambda fit."""
        return self in (Protocol.STATIC, Protocol.ADAPTIVE)

    @property
    def white_box(self) -> bool:
        """Whether the attacker takes gradients of the model and policy that are scored."""
        return self in (Protocol.PLAIN, Protocol.FIXED, Protocol.ADAPTIVE, Protocol.GRID)


#: Protocols that a single attack is measured under if none is named, as far as they suit the model; universal
#: perturbations have no others.
BASIC = (Protocol.PLAIN, Protocol.STATIC, Protocol.ADAPTIVE)
