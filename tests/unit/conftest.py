"""Fixtures of several unit tests: a bucket's server, and ``sapphire tune`` in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.cli import main
from tests.gcs_server import Storage, serving


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A storage with one empty bucket, "bucket", to which Google's client speaks."""
    with serving() as (storage, address):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield storage


@pytest.fixture
def tune_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs ``sapphire tune WORDS`` of a home, called with (home, *words): (exit code, stderr)."""

    def call(home: Path, *words: str) -> tuple[int, str]:
        monkeypatch.setenv("SAPPHIRE_HOME", str(home))
        monkeypatch.delenv("DATABASE_URL", raising=False)
        monkeypatch.setattr(sys, "argv", ["sapphire", "tune", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), capsys.readouterr().err

    return call
