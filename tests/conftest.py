"""What every room of the tests shares: hypothesis profiles, real data where it is, a tokenizer."""

import os
from pathlib import Path

import pytest
from builders import train_byte_tokenizer
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# the first call of a kernel compiles it, which no deadline survives
quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("dev", deadline=None, max_examples=40, suppress_health_check=quiet)
settings.register_profile(
    "ci", deadline=None, max_examples=60, derandomize=True, suppress_health_check=quiet
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

FULL_SECONDS = 7200
"""What one test on the whole corpus may take; a peer reads some 0.2 MB/s."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what reads the whole corpus, unless `-m` names it; then let it take its time.

    A default `-m` in the configuration would be lost as soon as anyone gives one of their own.
    """
    full = [item for item in items if item.get_closest_marker("conformance_full")]
    for item in full:
        item.add_marker(pytest.mark.timeout(FULL_SECONDS))
    if full and "conformance_full" not in (config.option.markexpr or ""):
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if item not in full]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real reference data, beside the repository or named by DOLMIX_SHARED."""
    folder = Path(os.environ.get("DOLMIX_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set DOLMIX_SHARED")
    return folder


@pytest.fixture(scope="session")
def lid_model() -> Path:
    """FastText's language model, fetched by scripts/setup.sh or named by DOLMIX_LID_MODEL."""
    path = Path(os.environ.get("DOLMIX_LID_MODEL", ROOT / "models" / "lid.176.ftz"))
    if not path.exists() and os.environ.get("CI"):
        pytest.fail(f"CI needs the language model at {path}: scripts/setup.sh fetches it")
    if not path.exists():
        pytest.skip(f"no language model at {path}; run scripts/get_lid_model.py models")
    return path


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a byte-level tokenizer of 320 entries: any text encodes, nothing is unknown."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_byte_tokenizer(path)
    return path
