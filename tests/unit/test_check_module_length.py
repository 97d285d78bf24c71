"""The length check: 400 lines pass, 401 fail, unless the module says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check_module_length import too_long

REASON = "# longer than 400 lines because: one table of constants\n"


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("x = 1\n" * 400, True),
        ("x = 1\n" * 401, False),
        (REASON + "x = 1\n" * 401, True),
        ("# longer than 400 lines because:\n" + "x = 1\n" * 401, False),
        ("x = '" + REASON[:-1] + "'\n" + "x = 1\n" * 401, False),
    ],
)
def test_limit_and_reason(tmp_path: Path, text: str, *, allowed: bool) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "module.py").write_text(text)
    found = too_long(tmp_path)
    assert (found == []) is allowed
    assert all("data/deep/module.py" in line for line in found)
