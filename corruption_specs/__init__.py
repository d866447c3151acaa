"""Severity tables of corruption benchmarks, as TOML data."""
