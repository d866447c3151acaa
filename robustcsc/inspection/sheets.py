"""Many small pictures side by side as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from robustcsc.presentation.drawing import Drawing, own_style, verbatim

Array = np.ndarray[Any, np.dtype[np.float64]]

_WIDTH, _SQUARE, _LETTER = 6.4, 0.62, 0.065  # inches: of a sheet, a picture with headings, a letter of these


def stretched(pictures: Array, *, by_channel: bool = False) -> Array:
    """Returns pictures ``(..., C, H, W)`` each from 0 to 1; constant ones are 0.

    Args:
        pictures: Any numbers.
        by_channel: Whether each channel of a picture is stretched separately.
    """
    axes = (-2, -1) if by_channel else (-3, -2, -1)
    low, high = pictures.min(axes, keepdims=True), pictures.max(axes, keepdims=True)
    scaled: Array = (pictures - low) / np.maximum(high - low, 1e-12)
    return scaled


def sheet(pictures: Array, columns: int | None = None) -> Array:
    """Returns pictures ``(n, C, H, W)`` side by side as one image ``(rows, columns, C)``, separated by white lines.

    Args:
        pictures: In [0, 1], in reading order.
        columns: Pictures per row; by default the sheet is square.
    """
    count, channels, height, width = pictures.shape
    columns = columns or ceil(sqrt(count))
    rows = ceil(count / columns)
    cells = np.ones((rows * columns, height + 1, width + 1, channels))
    cells[:count, :height, :width] = pictures.transpose(0, 2, 3, 1)
    grid = cells.reshape(rows, columns, height + 1, width + 1, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * (height + 1), columns * (width + 1), channels)


@own_style()
def draw_sheet(
    name: str,
    title: str,
    description: str,
    pictures: Array,
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
) -> Drawing:
    """Returns pictures as a figure.

    Args:
        name: As in `Drawing`.
        title: As in `Drawing`.
        description: As in `Drawing`.
        pictures: ``(n, C, H, W)`` in [0, 1], C = 1 or 3, in the order of reading.
        columns: Headings, one per column, which may be empty; without them the sheet is a square.
        rows: Names, where there are columns.
    """
    image = sheet(pictures, len(columns) or None)
    # The room for names is computed here, because a layout engine ignores the fixed shape of a picture.
    left, top = (_LETTER * max(map(len, names)) + 0.1 if any(names) else 0.05 for names in (rows, columns))
    width = len(columns) * _SQUARE if any(columns) else _WIDTH
    height = width * image.shape[0] / image.shape[1]
    size = (left + width + 0.05, top + height + 0.05)
    figure = Figure(figsize=size, facecolor="white")
    ax = figure.add_axes((left / size[0], 0.05 / size[1], width / size[0], height / size[1]))
    ax.imshow(image[:, :, 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if columns:
        across, down = pictures.shape[3] + 1, pictures.shape[2] + 1
        ax.set_xticks([(at + 0.5) * across for at in range(len(columns))], list(map(verbatim, columns)), rotation=90)
        ax.set_yticks([(at + 0.5) * down for at in range(len(rows))], list(map(verbatim, rows)))
        ax.xaxis.tick_top()
        ax.tick_params(length=0, labelsize=7)
        ax.spines[:].set_visible(False)
    else:
        ax.set_axis_off()
    return Drawing(name, title, description, figure)
