"""The trader's HTTP surface: /healthz says that the process lives, /readyz that it could trade."""

from __future__ import annotations

import threading
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def application(readiness: Callable[[], dict[str, bool]]) -> Starlette:
    """``readiness`` names each thing that trading needs and whether it is there now."""

    def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def readyz(_: Request) -> Response:
        checks = readiness()
        ready = all(checks.values())
        return JSONResponse({"ready": ready, "checks": checks}, 200 if ready else 503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])


class Server:
    """The application in a thread of its own, beside the session loop."""

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        config = uvicorn.Config(
            app, host=host, port=port, log_level="warning", access_log=False, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="trader-http", daemon=True)

    def start(self) -> None:
        """Starts listening; a taken port ends the thread, and the health check then fails."""
        self._thread.start()

    def stop(self) -> None:
        """Closes the listener, waiting at most two seconds."""
        self._server.should_exit = True
        self._thread.join(timeout=2.0)
