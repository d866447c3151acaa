#!/usr/bin/env bash
# ray: the test cluster overwrites the address of a cluster that runs on the machine, wherever its own files lie.
#
# Packages: ray 2.60.0. Date: 2026-11-28.
# Guess: ray.cluster_utils.Cluster, told to keep its files in a folder of its own (temp_dir of the head node), touches
# nothing outside it, so that tests can run beside a cluster of the user's.
# Seen: Sockets, logs and sessions lie in temp_dir, but the address of the new head node is written to the file
# ray_current_cluster in Ray's default folder (/tmp/ray, or $RAY_TMPDIR/ray), which is where `ray start` leaves the
# address that ray.init(address="auto") and `ray status` then take. Whoever is not joined to a cluster by an explicit
# address is sent to the test cluster, and after its shutdown to none, as the file goes. On a machine where no Ray has
# run, the folder is not there and is not made: FileNotFoundError, though temp_dir exists. `ray start --temp-dir`
# writes into the folder that it is given.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d /tmp/rt.XXXX)  # short: paths of sockets may have 107 bytes
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check ray==2.60.0
cat > "$folder/look.py" <<'PY'
import os
import sys
from pathlib import Path

own, default = Path(sys.argv[1], "own"), Path(sys.argv[1], "default")
own.mkdir()
default.mkdir()
os.environ |= {"RAY_TMPDIR": str(default), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

import ray
from ray.cluster_utils import Cluster

print("python", sys.version.split()[0], "ray", ray.__version__)
head = {
    "num_cpus": 1,
    "include_dashboard": False,
    "object_store_memory": 80 << 20,
    "temp_dir": str(own),
    "node_ip_address": "127.0.0.2",
}
raised = ""
try:
    Cluster(initialize_head=True, head_node_args=head)
except FileNotFoundError as error:
    raised = str(error.filename)
print("no default folder:", f"FileNotFoundError for {Path(raised).relative_to(default)} in it" if raised else "started")

address = default / "ray" / "ray_current_cluster"
address.parent.mkdir(exist_ok=True)
address.write_text("127.0.0.9:6379")
cluster = Cluster(initialize_head=True, head_node_args=head)
written = address.read_text()
print("the address of another cluster is now that of the test cluster:", written == cluster.address)
print("in temp_dir:", sorted(it.name for it in own.iterdir() if not it.name.startswith("session_2")))
cluster.shutdown()
print("after the shutdown the file is", "there" if address.exists() else "gone")
sys.exit(not (raised and written == cluster.address and not (own / "ray_current_cluster").exists()))
PY
"$folder/venv/bin/python" "$folder/look.py" "$folder"
