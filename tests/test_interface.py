"""The public names of `import robustcsc`."""

import subprocess
import sys

import robustcsc

WHOLE = """
import importlib, pkgutil, robustcsc
for module in pkgutil.walk_packages(robustcsc.__path__, "robustcsc."):
    importlib.import_module(module.name)
"""


def test_no_module_hides_a_public_name() -> None:
    code = f"{WHOLE}print([name for name in robustcsc.__all__ if not callable(getattr(robustcsc, name))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_says_what_it_is() -> None:
    assert [name for name in robustcsc.__all__ if not getattr(robustcsc, name).__doc__] == []
