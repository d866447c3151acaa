"""Experiments as files: what is trained, fitted, measured and reported, in one TOML file."""
