"""The hash chain: golden values by hand, every field covered, forks refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from support import House, migrated

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.journal import GENESIS, Head, Record, append, broken_link, head, next_record, read_chain
from data.store import connect


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


def record_after(before: Head, **changes: object) -> Record:
    fields = {
        "chain": "cell/0",
        "kind": "input",
        "session_id": "s",
        "ts": 7,
        "written_ns": 9,
        "payload": {"b": 1.5, "a": [1]},
        "seen": {"operations": 3},
    }
    return next_record(before, **(fields | changes))  # type: ignore[arg-type]


def test_first_hash_is_sha256_over_every_field_with_its_length() -> None:
    parts = [
        bytes(32), b"cell/0", b"1", b"input", b"s", b"7", b"9",
        b'{"operations":3}', b'{"a":[1],"b":1.5}',
    ]  # fmt: skip
    text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    record = record_after(Head(0, GENESIS))
    assert record.hash == hashlib.sha256(text).digest()
    assert (record.seq, record.prev_hash) == (1, bytes(32))
    assert record.seen_of("operations") == 3
    assert record.seen_of("account/x") == 0
    # The second record hashes the first one's hash.
    second = record_after(record.head)
    text = text.replace(bytes(32), record.hash, 1).replace(b"\x01" + b"1", b"\x01" + b"2", 1)
    assert second.hash == hashlib.sha256(text).digest()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chain", "cell/1"), ("kind", "output"), ("session_id", "t"), ("ts", 8),
        ("written_ns", 10), ("seen", b'{"operations":4}'), ("payload", b'{"a":[1],"b":1.25}'),
        ("hash", bytes(32)),
    ],
)  # fmt: skip
def test_any_changed_field_breaks_the_link(name: str, value: object) -> None:
    record = record_after(Head(0, GENESIS))
    assert broken_link(record, Head(0, GENESIS)) is None
    assert "content" in (broken_link(replace(record, **{name: value}), Head(0, GENESIS)) or "")


def test_a_record_follows_only_its_predecessor() -> None:
    first = record_after(Head(0, GENESIS))
    second = record_after(first.head)
    third = record_after(second.head)
    assert broken_link(second, first.head) is None
    assert broken_link(third, first.head) == "number 3 follows 1"
    other = record_after(Head(0, GENESIS), ts=8)
    assert "previous hash" in (broken_link(second, other.head) or "")


def test_fields_cannot_flow_into_each_other() -> None:
    one = record_after(Head(0, GENESIS), kind="input", session_id="s1")
    two = record_after(Head(0, GENESIS), kind="inputs", session_id="1")
    assert one.kind + one.session_id == two.kind + two.session_id
    assert one.hash != two.hash
    digits = [
        record_after(Head(0, GENESIS), ts=a, written_ns=b).hash for a, b in ((1, 23), (12, 3))
    ]
    assert digits[0] != digits[1]


@pytest.mark.integration
def test_chain_in_postgresql_reads_back_whole_and_refuses_a_fork(house: House) -> None:
    with house.connect() as connection:
        assert head(connection, "cell/0") == Head(0, GENESIS)
        written = []
        for number in range(1, 6):
            record = record_after(head(connection, "cell/0"), payload={"n": number})
            append(connection, record)
            append(connection, record_after(head(connection, "cell/1"), chain="cell/1"))
            written.append(record)
        assert list(read_chain(connection, "cell/0")) == written
        assert list(read_chain(connection, "cell/0", after=2, until=4)) == written[2:4]
        assert head(connection, "cell/0") == written[-1].head
        before = Head(0, GENESIS)
        for record in read_chain(connection, "cell/0"):
            assert broken_link(record, before) is None
            before = record.head
        # A second writer that saw the same head: its number is taken, nothing of it stays.
        fork = record_after(written[3].head, payload={"n": "fork"})
        with pytest.raises(psycopg.errors.UniqueViolation, match="journal_identity_pkey"):
            append(connection, fork)
        assert list(read_chain(connection, "cell/0")) == written


@pytest.mark.integration
def test_of_two_concurrent_writers_one_wins(house: House) -> None:
    with house.connect() as one, connect(house.superuser, name="two") as two:
        first, second = (record_after(head(c, "cell/0"), ts=n) for n, c in enumerate((one, two)))
        with one.transaction():
            append(one, first)
            # The second waits for the first's commit, here not at all.
            two.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                append(two, second)
        with pytest.raises(psycopg.errors.UniqueViolation):
            append(two, second)
        assert head(two, "cell/0") == first.head
