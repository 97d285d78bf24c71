"""Floor 6: the composition root: command line, local bring-up, Ray start-up."""

import data  # noqa: F401 - names numba's cache before anything here imports numba
