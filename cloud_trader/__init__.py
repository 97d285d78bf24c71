"""Floor 4: the trading service: session loop, account, brokers, order journal."""

import data  # noqa: F401 - names numba's cache before anything here imports numba
