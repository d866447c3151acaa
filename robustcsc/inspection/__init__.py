"""Inspection of models: what their sparse-coding layers have learned, and what they do with images."""
