"""What runs the attacks of `robustcsc.measurements.attacks`."""

from __future__ import annotations

from collections.abc import Callable

from robustcsc.attacks import adaptive_pgd, black_box, gradient, minimum_norm
from robustcsc.attacks.guard import Search

#: By name, ``(threat, *, settings)`` to how the attack searches; `craft` checks the norm.
SEARCHES: dict[str, Callable[..., Search]] = {
    "fgsm": gradient.fgsm,
    "pgd": gradient.pgd_search,
    "apgd": adaptive_pgd.apgd,
    "apgd-t": adaptive_pgd.apgd_targeted,
    "square": black_box.square,
    "fab": minimum_norm.fab,
    "cw": minimum_norm.carlini_wagner,
    "deepfool": minimum_norm.deepfool_within,
    "autoattack-port": adaptive_pgd.autoattack_port,
}
