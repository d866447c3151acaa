"""Robustness evaluation of image classifiers built on sparse coding.

The names of the Python interface are loaded when they are first used, so that ``import robustcsc`` stays light: it
imports no torch. ``robustcsc/__init__.pyi`` lists them.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
