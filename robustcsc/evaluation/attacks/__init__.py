"""Crafting adversarial images for a measurement, keeping them, and the suites of attacks."""
