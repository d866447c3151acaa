"""The job script of the page on Slurm, run by bash task by task, gives what one sweep gives."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robustcsc.measurements.facts import replace
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import Record
from robustcsc.measurements.store import ResultStore

PAGE = Path(__file__).parents[2] / "docs/howto/slurm.md"
NAME = "sdnet20-cifar10-jpeg"


def without_provenance(folder: Path) -> list[Record]:
    with ResultStore(folder / "results.sqlite", read_only=True) as store:
        return [replace(it, provenance=Provenance(device="", versions={})) for it in store.records()]


@pytest.mark.slow
def test_the_tasks_of_the_array_merged_are_one_sweep(tmp_path: Path) -> None:
    script, submitted, _ = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (wrapped,) = re.findall(r'--wrap "(.*?)"', submitted)
    command = tmp_path / "bin/robustcsc"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m robustcsc.cli.main "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def bash(text: str, **variables: str) -> None:
        typed = text.replace(NAME, "sdnet-digits")
        subprocess.run(["bash", "-euc", typed], cwd=tmp_path, env=environment | variables, check=True)

    bash(f"robustcsc fit-lambda --run {NAME} --limit 20 --grid 0.1,0.5,1")
    chosen = {"0": "gaussian_noise", "11": "fog", "13": "contrast"}
    names = script.partition("CORRUPTIONS=(")[2].partition(")")[0].split()
    assert [names[int(task)] for task in chosen] == [*chosen.values()]
    for task in (*chosen, "11"):  # one is requeued after it had ended
        bash(script, SLURM_ARRAY_TASK_ID=task, SLURM_CPUS_PER_TASK="1")
    bash(f"cp -r runs/{NAME} single && mkdir one && mv single one/{NAME}")
    bash(f"robustcsc sweep --run one/{NAME} --corruptions {','.join(chosen.values())} --lambda train,adaptive")
    bash(wrapped)
    merged = without_provenance(tmp_path / "runs/sdnet-digits")
    assert merged == without_provenance(tmp_path / "one/sdnet-digits")
    assert len(merged) == 2 * (1 + 3 * 5)
