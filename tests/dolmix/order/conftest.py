"""A resolved small mix over real stores."""

from pathlib import Path

import mix_stores
import pytest

from dolmix.mix import lock_path_of, resolve_file


@pytest.fixture
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lock of the small mix; the working directory is its folder."""
    monkeypatch.chdir(tmp_path)
    mix_file = mix_stores.write_small_mix(tmp_path)
    target = lock_path_of(mix_file)
    resolve_file(mix_file).write(target)
    return target
