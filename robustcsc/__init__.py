"""Robustness evaluation of image classifiers built on sparse coding.

The package root stays light: ``import robustcsc`` does not import torch.
"""

__version__ = "0.1.0"
