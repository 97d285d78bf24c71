"""Floor 5: model fitting, performance statistics and reports."""

import data  # noqa: F401 - names numba's cache before anything here imports numba
