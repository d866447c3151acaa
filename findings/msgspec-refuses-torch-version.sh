#!/usr/bin/env bash
# msgspec cannot write torch.__version__, though it reads it.
#
# Packages: msgspec 0.22.0 with torch 2.13.0. Date: 2026-11-27.
# Guess: torch.__version__ is a str (isinstance says so, and json writes it), so a struct with a field of type str can
# hold the version of PyTorch in the provenance of a result.
# Seen: it is a TorchVersion, a subclass of str. msgspec.convert puts it into a str field as it is, and only encoding the
# struct, perhaps hours later, raises TypeError: "Encoding objects of type TorchVersion is unsupported", in JSON, in
# MessagePack and in to_builtins. str(torch.__version__) is the remedy.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy msgspec==0.22.0
"$folder/venv/bin/python" - <<'PY'
import json
import sys

import msgspec
import torch


class Provenance(msgspec.Struct):
    torch: str


print("python", sys.version.split()[0], "msgspec", msgspec.__version__, "torch", torch.__version__)
version = torch.__version__
print("isinstance(version, str):", isinstance(version, str), "| json:", json.dumps(version))
record = msgspec.convert({"torch": version}, Provenance)
print("convert accepts it and keeps the type:", type(record.torch).__name__)
refused = 0
for encode in (msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins):
    try:
        print(encode.__name__, encode(record))
    except TypeError as error:
        refused += 1
        print(encode.__name__, "->", type(error).__name__, error)
print("with str():", msgspec.json.encode(Provenance(str(version))).decode())
sys.exit(not (isinstance(version, str) and type(record.torch) is not str and refused == 3))
PY
