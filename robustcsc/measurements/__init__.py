"""Measurements as facts: what was measured, how, and what follows from the counts; without torch."""
