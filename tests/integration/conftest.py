"""One real cluster for all tests that ask for it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from cluster_fixture import RealCluster

from cluster.home import Home
from cluster.processes import terminate_home


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """The cluster of this run; the last test of test_cluster_session stops it."""
    home = Home(tmp_path_factory.mktemp("cluster")).create()
    with home.lock():
        cluster = RealCluster(home)
        began = time.monotonic()
        try:
            cluster.start()
            print(f"\nbring-up and fit: {time.monotonic() - began:.1f} s")
            yield cluster
        finally:
            cluster.cluster.stop()
            assert terminate_home(home.hash, 0.5, 3.0) == []
            shutil.rmtree(home.runtime_dir())
