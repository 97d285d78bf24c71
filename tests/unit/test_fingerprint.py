"""The fingerprint: every part that decides a float's last bit is in it, and differences show."""

from __future__ import annotations

from pathlib import Path

from cluster.fingerprint import RECORDING, differing, fingerprint
from data.code_hash import code_hash


def sources(root: Path, text: str = "x = 1\n") -> Path:
    for floor in (*RECORDING, "tuning"):
        (root / floor).mkdir(parents=True, exist_ok=True)
        (root / floor / "module.py").write_text(text)
    return root


def test_it_names_code_lock_compiler_cpu_and_libm() -> None:
    parts = fingerprint()
    assert parts.keys() == {"code", "lock", "python", "numba", "cpu", "libm"}
    assert all(parts.values())
    assert parts == fingerprint()


def test_code_below_the_reports_counts_and_reports_do_not(tmp_path: Path) -> None:
    before = code_hash(sources(tmp_path), RECORDING)
    (tmp_path / "tuning" / "module.py").write_text("x = 2\n")
    assert code_hash(tmp_path, RECORDING) == before
    for floor in RECORDING:
        (tmp_path / floor / "module.py").write_text("x = 2\n")
        assert code_hash(tmp_path, RECORDING) != before
        (tmp_path / floor / "module.py").write_text("x = 1\n")
        assert code_hash(tmp_path, RECORDING) == before
        (tmp_path / floor / "module.py").rename(tmp_path / floor / "renamed.py")
        assert code_hash(tmp_path, RECORDING) != before
        (tmp_path / floor / "renamed.py").rename(tmp_path / floor / "module.py")


def test_differences_name_their_part() -> None:
    parts = fingerprint()
    assert differing(parts, parts) == []
    other = {**parts, "libm": "musl 1.2"}
    assert differing(other, parts) == [f"libm: recorded musl 1.2, here {parts['libm']}"]
    assert differing({}, {"cpu": "z"}) == ["cpu: recorded nothing, here z"]
