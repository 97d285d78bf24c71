"""What is sent with a study and where: archive, address, headers, before Ray is asked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from cluster import tune_package
from cluster.tune_package import FLOORS, pack
from cluster.tune_submit import SubmitOptions, dashboard_address, request_headers, submit
from data.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def small_tree(folder: Path) -> Path:
    for floor in FLOORS:
        (folder / floor / "__pycache__").mkdir(parents=True)
        (folder / floor / "__init__.py").write_text("")
        (folder / floor / "__pycache__" / "x.pyc").write_text("")
    (folder / ".env").write_text("SECRET=1")
    (folder / "data" / "secrets.json").write_text("{}")
    (folder / "data" / "linked.py").symlink_to(folder / ".env")
    return folder


def test_the_archive_holds_the_sources_and_nothing_beside_them(tmp_path: Path) -> None:
    root = small_tree(tmp_path / "root")
    sent = tmp_path / "bars.parquet"
    sent.write_bytes(b"bars")
    assert pack(root, [sent], tmp_path / "out.zip") == 4
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == sorted(
            [*(f"{floor}/__init__.py" for floor in FLOORS), "bars.parquet"]
        )
        assert archive.read("bars.parquet") == b"bars"


def test_equal_sources_make_an_equal_archive(tmp_path: Path) -> None:
    root = small_tree(tmp_path / "root")
    pack(root, [], tmp_path / "a.zip")
    (root / "data" / "__init__.py").touch()
    pack(root, [], tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_this_installation_fits_and_has_its_migrations(tmp_path: Path) -> None:
    assert 0 < pack(ROOT, [], tmp_path / "out.zip") < tune_package.MOST_BYTES // 4
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        names = archive.namelist()
    assert "cluster/cli.py" in names
    assert any(name.startswith("data/migrations/") and name.endswith(".sql") for name in names)


def test_too_much_a_missing_and_a_taken_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_tree(tmp_path / "root")
    with pytest.raises(InputError, match="no such file"):
        pack(root, [tmp_path / "absent.csv"], tmp_path / "out.zip")
    for name in ("one.csv", "two/one.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 100)
    twice = [tmp_path / "one.csv", tmp_path / "two" / "one.csv"]
    with pytest.raises(InputError, match="goes already"):
        pack(root, twice, tmp_path / "out.zip")
    monkeypatch.setattr(tune_package, "MOST_BYTES", 99)
    with pytest.raises(InputError, match="gs://"):
        pack(root, twice[:1], tmp_path / "out.zip")
    with pytest.raises(InputError, match="has no package"):
        pack(tmp_path, [], tmp_path / "out.zip")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8265/", "http://127.0.0.1:8265"),
        ("head.ray.svc", "http://head.ray.svc:8265"),
        ("head:9000", "http://head:9000"),
        ("https://ray.example", "https://ray.example:443"),
        ("http://[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_a_dashboard_address_is_made_whole(text: str, address: str) -> None:
    assert dashboard_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "ray://head:10001", "http://", "http://h:99999", "http://h/path", "ftp://h"]
)
def test_an_address_that_is_no_dashboards_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--address"):
        dashboard_address(text)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        dashboard_address("http://me:hunter2@head:8265")
    assert "hunter2" not in str(caught.value)


def test_the_token_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    by_file = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    assert request_headers((), {}) == {}
    assert request_headers((), {"RAY_AUTH_TOKEN": "x"}) == {"authorization": "Bearer x"}
    assert request_headers(("A=b=c",), by_file) == {"A": "b=c", "authorization": "Bearer abc"}
    assert request_headers(("Authorization=own",), by_file) == {"Authorization": "own"}
    with pytest.raises(InputError, match="RAY_AUTH_TOKEN_PATH"):
        request_headers((), {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "absent")})
    for flawed in ("secret", "=secret", "A=", "A=secret\nB: c"):
        with pytest.raises(InputError) as caught:
            request_headers((flawed,), {})
        assert "secret" not in str(caught.value)


def test_an_address_of_the_environment_may_not_win_silently() -> None:
    options = SubmitOptions(address="http://127.0.0.1:1", study="ema")
    with pytest.raises(InputError, match="RAY_ADDRESS"):
        submit(options, {"RAY_ADDRESS": "elsewhere:6379"}, "x")
