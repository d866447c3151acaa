"""Telling which corruption images follow that come without a recipe."""
