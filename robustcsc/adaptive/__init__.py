"""Adaptive inference: the line from the CSC residual to the best lambda."""
