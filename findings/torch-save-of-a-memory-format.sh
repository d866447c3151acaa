#!/usr/bin/env bash
# torch: torch.save cannot write a torch.memory_format, which pickle and multiprocessing can.
#
# Packages: torch 2.14.1 (CPU). Date: 2026-11-28.
# Guess: torch.save writes whatever pickle writes, and a model that keeps torch.channels_last as an attribute, to know
# how it wants its images, can be saved whole, like one that keeps a dtype, a layout or a device.
# Seen: torch.save raises "cannot pickle 'module' object". It writes pickle protocol 2 unless told otherwise, and the
# four memory formats are written by the name "torch.channels_last", a qualified name that protocols below 4 take apart
# into getattr(torch, ...), for which they would have to write the module torch itself. With pickle_protocol=4 it is
# written, and torch.load then refuses it unless weights_only=False. dtypes, layouts, devices and quantisation schemes
# are written by every protocol.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat > "$folder/look.py" <<'PY'
import io
import pickle
import sys
import warnings

import torch

warnings.simplefilter("ignore")
print("python", sys.version.split()[0], "torch", torch.__version__)


def outcome(write):
    try:
        write()
        return "written"
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"


def saved(value, **settings):
    file = io.BytesIO()
    torch.save({"value": value}, file, **settings)
    file.seek(0)
    return file


found = {}
values = (torch.float32, torch.strided, torch.device("cpu"), torch.per_tensor_affine)
formats = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d, torch.preserve_format)
for value in (*values, *formats):
    found[value] = outcome(lambda: saved(value)), outcome(lambda: saved(value, pickle_protocol=4))
    print(f"{value}: torch.save {found[value][0]}; with pickle_protocol=4 {found[value][1]}")
pickled = pickle.loads(pickle.dumps(torch.channels_last)) is torch.channels_last
print("pickle.loads(pickle.dumps(torch.channels_last)) is the same:", pickled)
refused = outcome(lambda: torch.load(saved(torch.channels_last, pickle_protocol=4)))
print("torch.load:", refused)
read = torch.load(saved(torch.channels_last, pickle_protocol=4), weights_only=False)["value"]
print("torch.load with weights_only=False:", read)
seen = (
    all(found[it] == ("written", "written") for it in values)
    and all("cannot pickle 'module' object" in found[it][0] and found[it][1] == "written" for it in formats)
    and pickled
    and "Weights only load failed" in refused
    and read is torch.channels_last
)
sys.exit(not seen)
PY
"$folder/venv/bin/python" "$folder/look.py"
