"""Sessions and models: written once, named by content, altered ones refused."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from support import House, migrated, plain_config

from cluster.embedded_postgres import EmbeddedPostgres
from cluster.home import Home
from data.sessions import (
    UnknownSession,
    latest_session,
    load_model,
    load_session,
    model_id,
    models_trained_until,
    save_model,
    save_session,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def house(postgres: EmbeddedPostgres, home: Home) -> Iterator[House]:
    with migrated(postgres, home) as made:
        yield made


def test_model_name_is_the_hash_of_its_content() -> None:
    head, body = b"trend/5/77", struct.pack("<2d", 0.1, -3.0)
    text = b"".join(len(part).to_bytes(8, "big") + part for part in (head, body))
    params = np.array([0.1, -3.0])
    name = model_id("trend", 5, 77, params)
    assert name == hashlib.sha256(text).hexdigest()
    assert model_id("trend", 5, 77, params.astype(">f8")) == name
    others = [("vpin", 5, 77), ("trend", 6, 77), ("trend", 5, 78)]
    assert name not in {model_id(*other, params) for other in others}


def test_models_keep_every_bit_and_an_altered_one_is_refused(house: House) -> None:
    params = np.array([0.1, 1 / 3, -0.0, 5e-324, np.pi * 1e300])
    with house.connect() as connection:
        name = save_model(connection, "trend", 5, 77, params)
        assert save_model(connection, "trend", 5, 77, params) == name
        other = save_model(connection, "vpin", 5, 99, params[:2])
        assert load_model(connection, name).tobytes() == params.tobytes()
        assert models_trained_until(connection, [name]) == 77
        assert models_trained_until(connection, [name, other]) == 99
        assert models_trained_until(connection, []) == 0
        with pytest.raises(LookupError, match="not in the database"):
            load_model(connection, "0" * 64)
        params[1] = np.nextafter(params[1], 1)
        connection.execute(
            "UPDATE model SET params = %s WHERE model_id = %s", (params.tobytes(), name)
        )
        with pytest.raises(ValueError, match="altered"):
            load_model(connection, name)
        connection.execute("UPDATE model SET trained_until = 1 WHERE model_id = %s", (other,))
        with pytest.raises(ValueError, match="altered"):
            load_model(connection, other)


def test_sessions_are_recorded_once_and_read_back_equal(house: House) -> None:
    first = plain_config(session_id="one", opening_micro=2**53 + 1)
    second = plain_config(session_id="two", account="other")
    with house.connect() as connection:
        assert latest_session(connection) is None
        save_session(connection, first)
        save_session(connection, second)
        assert load_session(connection, "one") == first
        assert latest_session(connection) == "two"
        with pytest.raises(psycopg.errors.UniqueViolation):
            save_session(connection, plain_config(session_id="one", account="thief"))
        assert load_session(connection, "one") == first
        with pytest.raises(UnknownSession, match="three"):
            load_session(connection, "three")
        with pytest.raises(psycopg.errors.CheckViolation):
            save_session(connection, plain_config(session_id="four", mode="dream"))
