"""torchattacks asks for an old version of requests; nothing here uses any."""

import subprocess
import sys
from pathlib import Path


def test_robustcsc_measures_and_attacks_without_requests(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['requests'] = None\n"  # every import of it fails now
        "from robustcsc.cli.main import main\n"
        "digits = '--run sdnet-digits --json --limit'\n"
        "for typed in (f'evaluate {digits} 50', f'attack {digits} 4 --steps 1', 'report'):\n"
        "    assert main(typed.split()) == 0, typed\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"met": 48' in done.stdout
