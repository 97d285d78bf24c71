"""Floor 2: the six agents and the risk gate, plain classes over pure step functions."""

import data  # noqa: F401 - names numba's cache before anything here imports numba
