"""An environment of its own with transformers 4.57, beside the one that runs the tests.

    python tests/pipelines/parity/environment.py FOLDER

torch and what else 4.57 may use come from the running environment, by a .pth file: the same build on both sides, and
nothing large to download. What pip puts into the new environment stands before it on the path.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

REQUIREMENTS = ("transformers==4.57.*", "sentencepiece>=0.2", "protobuf")
PIP_TIMEOUT_S = 600


class UnavailableError(Exception):
    """The environment cannot be made here, with pip's last words."""


def interpreter(folder: Path) -> Path:
    """The Python of the environment in `folder`, which is made unless it is there already."""
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if ready.exists():
        return python
    try:
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--retries", "1", *REQUIREMENTS]
        subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=True)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"pip found no end within {PIP_TIMEOUT_S} s") from None
    except subprocess.CalledProcessError as error:
        raise UnavailableError(str(error.stderr or error).strip().splitlines()[-1]) from None
    packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (packages / "running_environment.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    ready.touch()
    return python


if __name__ == "__main__":
    print(interpreter(Path(sys.argv[1])))
