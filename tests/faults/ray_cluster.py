"""A Ray cluster of two nodes, both on this machine and on its loopback interface only, as long as the process runs.

It prints the address of the head node, and a line for each line of standard input that it has carried out: `remove`
ends the other node as if its machine had lost power, `add` starts one anew.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

#: Not 127.0.0.1, which Ray replaces by an address that other machines can reach.
HEAD, OTHER = "127.0.0.2", "127.0.0.3"


def main() -> None:
    """Runs the cluster until standard input ends."""
    with tempfile.TemporaryDirectory(prefix="robustcsc-ray-", dir="/tmp") as scratch:
        # Ray's test cluster writes its address into the folder `ray` there, which has to exist, whatever `temp_dir` is:
        # by default that of the user's own cluster.
        os.environ["RAY_TMPDIR"] = scratch
        Path(scratch, "ray").mkdir()
        node: dict[str, Any] = {
            "num_cpus": 1,
            "include_dashboard": False,
            "object_store_memory": 80 << 20,
            "temp_dir": scratch,
        }
        cluster = Cluster(initialize_head=True, head_node_args={**node, "node_ip_address": HEAD})
        other = cluster.add_node(**node, node_ip_address=OTHER)
        tell(cluster.address)
        for line in sys.stdin:
            if line.strip() == "remove":
                cluster.remove_node(other, allow_graceful=False)
            else:
                other = cluster.add_node(**node, node_ip_address=OTHER)
            tell(line.strip())
        cluster.shutdown()


def tell(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
