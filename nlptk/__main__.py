"""`nlptk ...`, `python -m nlptk ...` and `accelerate launch -m nlptk ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

USER_ERROR = 2
INTERRUPTED = 130
_RESUMES = "; training.resume_from_checkpoint=auto goes on from the last checkpoint, if there is one"
GOES_ON = {
    "predict": "; the same call goes on where it was",
    "train": _RESUMES,
    "pretrain": _RESUMES,
    "tune": "; trials.json in the output folder has the trials that had ended",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 something to mend (one message, no traceback), 130 interrupted.

    Anything else ends with a traceback and 1: that is a defect of nlptk or of what it stands on.
    """
    import typer

    from nlptk.cli import app
    from nlptk.errors import NlptkError

    # click's, or typer's own copy of it, which it does not export
    usage_error = cast(type[Exception], typer.BadParameter.__mro__[1])
    code = 0
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="nlptk", standalone_mode=False) or 0
    except NlptkError as error:
        _say(str(error))
        code = USER_ERROR
    except KeyboardInterrupt:
        code = INTERRUPTED
    except usage_error as error:
        _say(_usage(error))
        code = USER_ERROR
    if code == INTERRUPTED:  # typer turns the interrupt into this code
        words = sys.argv[1:] if arguments is None else arguments
        _say(f"interrupted{GOES_ON.get(words[0] if words else '', '')}")
    sys.exit(code)


def train_task(name: str) -> None:
    """`nlptk train` with the script's words, for a task's file that is run as a script."""
    main(["train", *sys.argv[1:], f"task.name={name}"])


def _say(message: str) -> None:
    print(f"nlptk: {' '.join(message.split())}", file=sys.stderr)


def _usage(error: Any) -> str:
    """What is wrong with the words of the command line, and where the right ones are listed."""
    path = error.ctx.command_path if error.ctx is not None else "nlptk"
    return f"{error.format_message().rstrip('.').replace('Value error, ', '')}; see {path} --help"


if __name__ == "__main__":
    main()
