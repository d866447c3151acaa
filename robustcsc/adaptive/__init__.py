"""Adaptive inference: lambda predicted from the residual of the CSC layers (SDNet Algorithm 1)."""
