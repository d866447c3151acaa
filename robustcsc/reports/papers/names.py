"""The papers whose tables a report can fill. Imports nothing, so that a word can be checked at once."""

from __future__ import annotations

from typing import Literal

Paper = Literal["sdnet", "detrame", "res-msd-csc", "tddl"]
