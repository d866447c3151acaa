"""Fits, as in the tests of adaptive inference."""

from tests.adaptive.conftest import make_fit

__all__ = ["make_fit"]
