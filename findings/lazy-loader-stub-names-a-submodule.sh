#!/usr/bin/env bash
# A stub of lazy-loader cannot offer a module of a sub-package.
#
# Package: lazy-loader 0.6 (SPEC 1: lazy loading of submodules and functions). Date: 2026-11-27.
# Guess: the line `from .parts import policies` in a package's __init__.pyi works as the same line works in a .py file,
# where Python imports the module parts/policies.py if the package `parts` has no such attribute.
# Seen: the first use of the name raises AttributeError, unless something else has imported parts.policies before; type
# checkers accept the stub. Functions and classes (`from .parts.policies import Policy`) work.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check lazy-loader==0.6
mkdir -p "$folder/demo/face/parts"
cd "$folder/demo"
printf 'import lazy_loader\n\n__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)\n' > face/__init__.py
printf 'from .parts import policies\nfrom .parts.policies import Policy\n' > face/__init__.pyi
: > face/parts/__init__.py
printf 'class Policy:\n    """A policy."""\n' > face/parts/policies.py
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

print("python", sys.version.split()[0], "lazy-loader", version("lazy-loader"))
import face

try:
    first = repr(face.policies)
except AttributeError as error:
    first = f"AttributeError: {error}"
print("face.policies:", first)
print("face.Policy:", face.Policy)
second = repr(face.policies)
print("face.policies after that:", second.split(" from ")[0])
sys.exit(0 if first.startswith("AttributeError") and second.startswith("<module") else 1)
PY
