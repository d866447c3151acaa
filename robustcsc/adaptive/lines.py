"""Lines from the residual to lambda (SDNet Algorithm 1, steps 11 and 12)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from robustcsc.measurements.fits import Line


def least_squares(residuals: Sequence[float] | Tensor, lambdas: Sequence[float] | Tensor) -> Line:
    """Returns the line of least squares; a level one where all residuals are the same."""
    inputs, targets = np.asarray(residuals, dtype=np.float64), np.asarray(lambdas, dtype=np.float64)
    across, up = inputs - inputs.mean(), targets - targets.mean()
    slope = float(across @ up / (across @ across)) if np.ptp(inputs) else 0.0
    left = up - slope * across
    return Line(
        slope=slope,
        intercept=float(targets.mean() - slope * inputs.mean()),
        # If all levels have the same best lambda there is no variance to explain.
        r2=float(1 - left @ left / (up @ up)) if np.ptp(targets) else 0.0,
    )
