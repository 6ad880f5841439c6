"""`python -m nlptk.text recipe.yaml key=value ...`: what `nlptk pretrain` does, for launchers that take a module."""

from __future__ import annotations

import os
import sys

from nlptk.errors import NlptkError


def main() -> None:
    """Run one job and print its figures; exit 2 with one message for what is to be mended."""
    from nlptk.text.pretraining import pretrain

    words = sys.argv[1:]
    source = words.pop(0) if words and "=" not in words[0] else None
    try:
        result = pretrain(source, overrides=words)
    except NlptkError as error:
        print(f"nlptk: {error}", file=sys.stderr)
        sys.exit(2)
    if int(os.environ.get("RANK", "0")) == 0:
        print("\n".join(result.lines()))


if __name__ == "__main__":
    main()
