"""Where the program begins: signals are answered before anything else is imported."""

import sys

from robustcsc.cli.signals import stop_at_once, stop_no_more


def main() -> int:
    """Runs the command line; see `robustcsc.cli.main.main`."""
    stop_at_once()
    from robustcsc.cli.main import main as run

    code: int = run()
    stop_no_more()
    return code


if __name__ == "__main__":
    sys.exit(main())
