"""Measuring: clean images, corruptions, lambda curves and attacks become records."""
