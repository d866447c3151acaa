#!/usr/bin/env bash
# msgspec: equal structs have different JSON: a field is left out for being the default object, not for equalling it.
#
# Packages: msgspec 0.22.0. Date: 2026-11-28.
# Guess: with omit_defaults=True a field is left out of the JSON whenever it equals its default, so that equal structs
# have the same JSON, and a hash over it is a key.
# Seen: strings, floats and whole numbers above 256 are compared by identity. A struct that was pickled (as for another
# process), read from JSON that spells its defaults out, or made of text and numbers that a user typed is equal to the
# one made without them, and its JSON has more fields. After deepcopy, and read from its own short JSON, it has not.
# Small whole numbers, empty strings and empty tuples are left out always, so that tests with such defaults see nothing.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check msgspec==0.22.0
cat > "$folder/look.py" <<'PY'
import copy
import importlib.metadata
import pickle
import sys

import msgspec


class Setting(msgspec.Struct, omit_defaults=True, frozen=True):
    attack: str
    precision: str = "fp32"
    rate: float = 0.001
    images: int = 1000
    seed: int = 0
    note: str = ""
    steps: tuple[int, ...] = ()


print("python", sys.version.split()[0], "msgspec", importlib.metadata.version("msgspec"))
made = Setting("pgd")
short, whole = msgspec.json.encode(made), b'{"attack":"pgd","precision":"fp32","rate":0.001,"images":1000,"seed":0,"note":""}'
variants = {
    "made": made,
    "deepcopy": copy.deepcopy(made),
    "read from its JSON": msgspec.json.decode(short, type=Setting),
    "pickled": pickle.loads(pickle.dumps(made)),
    "read from JSON with its defaults": msgspec.json.decode(whole, type=Setting),
    "typed": Setting("pgd", rate=float("0.001"), images=int("1000"), seed=int("0")),
}
found = {name: msgspec.json.encode(it) for name, it in variants.items()}
for name, content in found.items():
    print(f"{name}: {'equal' if variants[name] == made else 'not equal'}, {content.decode()}")
seen = (
    all(it == made for it in variants.values())
    and found["made"] == found["deepcopy"] == found["read from its JSON"] == b'{"attack":"pgd"}'
    and found["pickled"] == b'{"attack":"pgd","precision":"fp32","rate":0.001,"images":1000}'
    and found["read from JSON with its defaults"] == found["pickled"]
    and found["typed"] == b'{"attack":"pgd","rate":0.001,"images":1000}'
)
sys.exit(not seen)
PY
"$folder/venv/bin/python" "$folder/look.py"
