"""CPU time of `nlptk --help` and `import nlptk` above that of an empty Python program.

python benchmarks/startup.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import nlptk": ["-c", "import nlptk"],
    "nlptk --help": ["-m", "nlptk", "--help"],
}


def cpu_s(arguments: list[str]) -> float:
    """User and system time of one Python process."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Median of eleven runs each, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(11):
        for name, arguments in COMMANDS.items():
            times[name].append(cpu_s(arguments))
    empty = statistics.median(times["python -c pass"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:<16} {median:.3f} s of CPU time, {median - empty:.3f} s above an empty program")


if __name__ == "__main__":
    main()
