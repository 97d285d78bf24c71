"""Objects in a bucket, by Google's client against a server that speaks its protocol."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.processes import free_port
from data.cloud_objects import CloudFolder, ObjectError, parse_address
from tests.gcs_server import Storage

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def storage(cloud: Storage) -> Storage:
    return cloud


@pytest.fixture
def folder(storage: Storage) -> Iterator[CloudFolder]:
    made = CloudFolder("bucket", "deep/studies")
    yield made
    made.close()


def test_what_is_put_is_listed_and_read(folder: CloudFolder, storage: Storage) -> None:
    storage.put("bucket", "deep/studies2/other", b"not ours")
    storage.put("bucket", "other", b"not ours")
    # Nothing in a content may be taken for the protocol's own.
    odd = {"b/ä +%2F": bytes(range(256)), "a": b"\r\n--=\r\n\r\n", "b/empty": b""}
    for name, blob in odd.items():
        assert folder.put_new(name, blob)
    assert folder.names() == sorted(odd)
    assert {name: folder.get(name) for name in odd} == odd
    assert storage.objects("bucket")["deep/studies/a"].data == odd["a"]


def test_a_whole_bucket_is_a_folder_too(folder: CloudFolder) -> None:
    folder.put_new("a", b"x")
    whole = CloudFolder("bucket")
    assert (whole.where, whole.names()) == ("gs://bucket", ["deep/studies/a"])
    whole.close()


def test_pages_of_a_list_are_put_together(folder: CloudFolder, storage: Storage) -> None:
    storage.page = 3
    names = [f"{number:03d}" for number in range(10)]
    for name in names:
        storage.put("bucket", f"deep/studies/{name}", b"")
    assert folder.names() == names


def test_an_object_is_created_once(folder: CloudFolder, storage: Storage) -> None:
    assert folder.put_new("a", b"first")
    assert not folder.put_new("a", b"second")
    assert not folder.put_new("a", b"first")  # by somebody else, for all that this call knows
    assert folder.get("a") == b"first"


@pytest.mark.parametrize("size", [5, 9 * 2**20], ids=["in one request", "resumable"])
def test_a_creation_whose_answer_is_lost_is_still_ones_own(
    folder: CloudFolder, storage: Storage, size: int
) -> None:
    blob = os.urandom(size)
    storage.losses = 1
    assert folder.put_new("a", blob)
    assert storage.losses == 0
    assert not folder.put_new("a", blob)
    assert folder.get("a") == blob


def test_of_many_creators_at_once_one_wins(storage: Storage) -> None:
    count = 4
    gate = threading.Barrier(count)
    storage.before_create = lambda _: (gate.wait(20), None)[1]
    # Equal bytes: what tells the creators apart is not their content.
    won: list[bool] = []

    def create() -> None:
        made = CloudFolder("bucket")
        won.append(made.put_new("a", b"equal"))
        made.close()

    threads = [threading.Thread(target=create) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(won) == [False] * (count - 1) + [True]


def test_a_storage_that_is_unavailable_for_a_while_is_asked_again(
    folder: CloudFolder, storage: Storage
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: folder.put_new("a", b"x"),
        lambda: folder.get("a"),
        folder.names,
        lambda: folder.about("a").size,
    ]
    answers = []
    for call in calls:
        storage.unavailable = 2
        answers.append(call())
        assert storage.unavailable == 0
    assert answers == [True, b"x", ["a"], 1]


def test_a_content_that_breaks_off_is_read_to_its_end(
    folder: CloudFolder, storage: Storage, tmp_path: Path
) -> None:
    blob = os.urandom(100_000)
    folder.put_new("a", blob)
    storage.cuts = 1
    assert folder.get("a") == blob
    storage.cuts = 1
    with (tmp_path / "a").open("w+b") as file:
        folder.save("a", folder.about("a"), file)
    assert (tmp_path / "a").read_bytes() == blob


def test_the_rest_of_a_content_that_broke_off_may_not_be_damaged(
    folder: CloudFolder, storage: Storage, tmp_path: Path
) -> None:
    folder.put_new("a", os.urandom(100_000))
    storage.cuts, storage.rest_corruptions = 1, 1
    with (
        (tmp_path / "a").open("w+b") as file,
        pytest.raises(ObjectError, match="its checksum diff"),
    ):
        folder.save("a", folder.about("a"), file)
    assert (storage.cuts, storage.rest_corruptions) == (0, 0)


def test_an_old_generation_is_not_taken_for_the_new_one(
    folder: CloudFolder, storage: Storage, tmp_path: Path
) -> None:
    storage.put("bucket", "deep/studies/a", b"old")
    about = folder.about("a")
    assert about.size == 3
    storage.put("bucket", "deep/studies/a", b"new")
    assert folder.about("a").generation != about.generation
    with (tmp_path / "a").open("w+b") as file, pytest.raises(ObjectError, match="no such object"):
        folder.save("a", about, file)


def _said(folder: CloudFolder) -> list[str]:
    """What each call says when it fails."""
    said = []
    for call in (
        folder.names,
        lambda: folder.get("a"),
        lambda: folder.put_new("a", b""),
        lambda: folder.about("a"),
    ):
        with pytest.raises(ObjectError) as caught:
            call()
        said.append(str(caught.value))
    assert not [line for line in said if "\n" in line or not line.startswith(folder.where)]
    return said


def test_what_goes_wrong_is_one_line(
    folder: CloudFolder, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = _said(CloudFolder("absent"))
    assert [("such bucket" in line, "such object" in line) for line in absent] == [
        (True, False), (False, True), (True, False), (False, True),
    ]  # fmt: skip
    storage.denied = True
    for line in _said(folder):
        assert "access denied (somebody does not have storage.objects access.)" in line
    storage.denied = False
    hasty = CloudFolder("bucket", patience_s=0.5)
    storage.unavailable = 10**6
    for line in _said(hasty):
        assert "the storage answered 503 (Backend Error): try again later" in line
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    for line in _said(CloudFolder("bucket", patience_s=0.5)):
        assert "nothing answers (ConnectionError): check the network" in line
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:80")
    for line in _said(CloudFolder("bucket", patience_s=0.5)):
        assert "STORAGE_EMULATOR_HOST (http://HOST:PORT)" in line


def test_no_credentials_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(ObjectError, match=r"gs://bucket/x: there are no Google cred") as caught:
        CloudFolder("bucket", "x")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nosuch.json"))
    with pytest.raises(ObjectError, match=r"nosuch\.json was not found"):
        CloudFolder("bucket", "x")


def test_who_uses_no_bucket_does_not_load_the_client() -> None:
    modules = "cluster.cli, cluster.tune_store, data.feed, data.cloud_file, tuning.study.bucket"
    told = f"import sys, {modules}; print('google.cloud.storage' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("gs://my-bucket", ("my-bucket", "")),
        ("gs://my-bucket/", ("my-bucket", "")),
        ("gs://my.bucket_1/a/b c/", ("my.bucket_1", "a/b c")),
        ("gs://my-bucket/.../x", ("my-bucket", ".../x")),
        ("gs://", None),
        ("gs:///x", None),
        ("gs://B/x", None),
        ("gs://my-bucket//x", None),
        ("gs://my-bucket/a/../b", None),
        ("gs://my-bucket/..", None),
        ("gs://my-bucket/a?b", None),
        ("gs://my-bucket/a#1", None),
        ("gs://my-bucket/a\nb", None),
        ("s3://my-bucket/a", None),
    ],
)
def test_addresses(address: str, parsed: tuple[str, str] | None) -> None:
    assert parse_address(address) == parsed
