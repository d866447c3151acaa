"""Colours that colour-blind readers tell apart, and the ink that is read on them."""

from __future__ import annotations

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe & Ito (2008), without yellow: told apart by colour-blind readers, dark enough for paper."""
BLACK = "#000000"
SHADES = ("#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dec958", "#fee838")
"""Nine colours of the map cividis, dark to light: ordered and colour-blind-safe."""


def shade(place: float) -> str:
    """Returns the colour at a place in [0, 1] of `SHADES`, dark to light.

    Examples:
        >>> shade(0), shade(1)
        ('#00224e', '#fee838')
    """
    at = min(int(place * (len(SHADES) - 1)), len(SHADES) - 2)
    share = place * (len(SHADES) - 1) - at
    ends = ([int(SHADES[end][byte : byte + 2], 16) for byte in (1, 3, 5)] for end in (at, at + 1))
    mixed = (round(one + share * (other - one)) for one, other in zip(*ends, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def ink_on(colour: str) -> str:
    """Returns black or white, whichever is easier to read on a colour (WCAG 2.2, relative luminance).

    Examples:
        >>> ink_on("#00224e"), ink_on("#fee838")
        ('#ffffff', '#000000')
    """
    parts = (int(colour[byte : byte + 2], 16) / 255 for byte in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    light = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#ffffff" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else BLACK
