"""Where studies are kept: PostgreSQL where there is one, else a SQLite file below the home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cluster.home import Home
from cluster.settings import ClusterSettings
from data.errors import InputError
from tuning.study.contract import StudySpec
from tuning.study.database import Database, Postgres, Sqlite
from tuning.study.store import StudyStore

FILE = "studies.db"


def folder(home: Home) -> Path:
    """Studies and their reports of this home."""
    return home.path / "studies"


class Stores:
    """The stores that a command may look into, the one for new studies first."""

    def __init__(self, stores: list[StudyStore]) -> None:
        self.all = stores

    @property
    def new(self) -> StudyStore:
        """Where a new study goes."""
        return self.all[0]

    def holding(self, name: str) -> StudyStore:
        """The store that holds the study; InputError when none does."""
        for store in self.all:
            if store.exists(name):
                return store
        self.new.spec(name)  # Says what there is.
        raise InputError(f"no study is called {name!r}")

    def spec(self, name: str) -> tuple[StudyStore, StudySpec]:
        """The store that holds the study, and its spec."""
        store = self.holding(name)
        return store, store.spec(name)


@contextmanager
def stores(settings: ClusterSettings, home: Home, storage: str = "") -> Iterator[Stores]:
    """The stores in order of preference.

    ``storage``: a directory or bucket that keeps the studies instead of everything else. Without
    it DATABASE_URL, then the PostgreSQL of a cluster that runs in this home, then the file.
    """
    with ExitStack() as stack:

        def opened(database: Database) -> StudyStore:
            stack.callback(database.close)
            return StudyStore(database)

        if storage:
            from tuning.study.bucket import open_storage

            yield Stores([open_storage(storage, stack)])
            return
        found: list[StudyStore] = []
        url = running_database(settings, home)
        if url:
            found.append(opened(Postgres(url)))
        path = folder(home) / FILE
        if not found or path.is_file():
            home.create()
            found.append(opened(Sqlite(path)))
        yield Stores(found)


def running_database(settings: ClusterSettings, home: Home) -> str:
    """The address of a PostgreSQL that runs now, empty without one; none is started."""
    if settings.database_url:
        return settings.database_url
    if not home.is_locked():
        return ""
    instance = home.read_instance()
    return instance.addresses.get("operations", "") if instance else ""
