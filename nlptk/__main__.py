"""`nlptk ...`, `python -m nlptk ...` and `accelerate launch -m nlptk ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 something to mend (one message, no traceback), 130 interrupted.

    Anything else ends with a traceback and 1: that is a defect of nlptk or of what it stands on.
    """
    from nlptk.cli import app
    from nlptk.errors import NlptkError

    try:
        app(args=None if arguments is None else list(arguments))
    except NlptkError as error:
        print(f"nlptk: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("nlptk: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
