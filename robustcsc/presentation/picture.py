"""A picture that is a file already."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """A picture and its words.

    Attributes:
        name: File name without an ending; differs between the pictures of one report.
        title: What is shown.
        description: How it was made and what it does.
        png: The file.
    """

    name: str
    title: str
    description: str
    png: bytes


def data_address(png: bytes) -> str:
    """Returns a PNG image as an address that a page can hold."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
