"""The start of the command, also by ``python -m charlstm``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C before it handles signals, while modules are imported, ends it as later, without a
    traceback."""
    try:
        from charlstm.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
