"""Universal perturbations: crafting them for a measurement, and keeping them as files."""
