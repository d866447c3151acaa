"""Where the program begins: signals are answered before anything else is imported."""

import sys

from robustcsc.cli.signals import stopped_at_once


def main() -> int:
    """Runs the command line; see `robustcsc.cli.main.main`."""
    with stopped_at_once():
        from robustcsc.cli.main import main as run
    code: int = run()
    return code


if __name__ == "__main__":
    sys.exit(main())
