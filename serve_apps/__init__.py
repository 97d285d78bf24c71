"""Floor 3: the MCP coordinator, a Ray Serve application."""

import data  # noqa: F401 - names numba's cache before anything here imports numba
