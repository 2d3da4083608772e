"""``memptm`` and ``python -m memptm``: the command line as a program of its own."""

from __future__ import annotations

import atexit
import os
import sys

from memptm.cli import main


def run() -> None:
    """Run the command line and end the process.

    Taking torch and LanceDB apart at the end takes Python half a second, for a process whose memory the system takes back at once.
    What is registered to run at the end runs; then the process ends.
    """
    code = 0
    try:
        main(prog_name="memptm")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # whoever read has seen enough
        pass
    except OSError:
        code = code or 1
    os._exit(code)


if __name__ == "__main__":
    run()
