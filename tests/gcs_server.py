"""A Cloud Storage on loopback that speaks the JSON API as Google's client uses it, with faults.

Objects are made (in one multipart request, or resumably) and read under preconditions, listed in
pages, and fetched by generation and range with checksums. The real client is pointed here by
STORAGE_EMULATOR_HOST.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

_REASONS = {403: "forbidden", 404: "notFound", 412: "conditionNotMet", 503: "backendError"}
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o")
_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)")


@dataclass
class Stored:
    """One object."""

    about: dict[str, Any]  # as its maker described it
    data: bytes
    generation: int

    def hashes(self) -> dict[str, str]:
        """By the names that the API gives them."""
        crc = google_crc32c.value(self.data).to_bytes(4, "big")
        md5 = hashlib.md5(self.data, usedforsecurity=False).digest()
        return {name: base64.b64encode(value).decode()
                for name, value in (("crc32c", crc), ("md5Hash", md5))}  # fmt: skip


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Storage:
    """What the server holds, and what it is to do wrong."""

    buckets: dict[str, dict[str, Stored]] = field(default_factory=dict)
    page: int = 1_000  # objects in one page of a list
    log: list[str] = field(default_factory=list)  # method and path of each request, in order
    unavailable: int = 0  # so many requests are answered 503
    denied: bool = False  # everything is answered 403
    losses: int = 0  # so many objects are made, and the connection closed instead of an answer
    cuts: int = 0  # so many contents end half way
    corruptions: int = 0  # so many contents come with a wrong byte
    rest_corruptions: int = 0  # so many rests of contents do
    before_create: Callable[[str], None] = lambda _: (
        None
    )  # told the name, from the request's thread
    lock: threading.Lock = field(default_factory=threading.Lock)
    uploads: dict[str, tuple[str, dict[str, Any], str | None]] = field(default_factory=dict)
    generations: int = 1_700_000_000_000_000

    def objects(self, bucket: str) -> dict[str, Stored]:
        """The objects of a bucket."""
        if bucket not in self.buckets:
            raise Refusal(404, "The specified bucket does not exist.")
        return self.buckets[bucket]

    def find(self, bucket: str, name: str, generation: str | None) -> Stored:
        """An object, of one generation where that is asked for."""
        there = self.objects(bucket).get(name)
        if there is None or (generation is not None and there.generation != int(generation)):
            raise Refusal(404, f"No such object: {bucket}/{name}")
        return there

    def make(self, bucket: str, about: dict[str, Any], data: bytes, match: str | None) -> Stored:
        """Makes an object, if its precondition holds now."""
        name = about["name"]
        self.before_create(name)
        with self.lock:
            objects = self.objects(bucket)
            now = objects[name].generation if name in objects else 0
            if match is not None and int(match) != now:
                raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")
            self.generations += 1
            made = Stored(about, data, self.generations)
            for kind, value in made.hashes().items():
                if about.get(kind, value) != value:
                    raise Refusal(400, f"Provided {kind} does not match the content.")
            objects[name] = made
        return made

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """What somebody else has uploaded."""
        self.make(bucket, {"name": name}, data, None)

    def takes(self, fault: str) -> bool:
        """Whether this request is one of those that the fault is for."""
        with self.lock:
            left = getattr(self, fault)
            setattr(self, fault, max(left - 1, 0))
            return left > 0


@contextlib.contextmanager
def serving() -> Iterator[tuple[Storage, str]]:
    """A storage with one empty bucket, "bucket", and the address of its server."""
    storage = Storage({"bucket": {}})
    handler = type("Handler", (_Handler,), {"storage": storage})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield storage, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    storage: Storage
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer's head and body leave together

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        # All of it is read, or what is left would be taken for the next request.
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.storage.log.append(f"{self.command} {unquote(parts.path)}")
        try:
            if found := _BUCKET.fullmatch(parts.path):
                # The client asks for its tracing, at the side: no fault is spent on that.
                self._json({"name": found[1]})
                return
            if self.storage.takes("unavailable"):
                raise Refusal(503, "Backend Error")
            if self.storage.denied:
                raise Refusal(403, "somebody does not have storage.objects access.")
            self._route(parts.path)
        except Refusal as refusal:
            self._refuse(refusal)

    def _route(self, path: str) -> None:
        if upload := _UPLOAD.fullmatch(path):
            self._upload(unquote(upload[1]))
        elif listed := _LIST.fullmatch(path):
            self._list(unquote(listed[1]))
        elif one := _OBJECT.fullmatch(path):
            bucket, name = unquote(one[1]), unquote(one[2])
            there = self.storage.find(bucket, name, self.asked.get("generation"))
            if self.asked.get("alt") == "media":
                self._content(there)
            else:
                self._json(self._resource(bucket, there))
        else:
            raise Refusal(404, "Not Found")

    def _upload(self, bucket: str) -> None:
        match = self.asked.get("ifGenerationMatch")
        if self.command == "PUT":
            # One that has ended is answered again as it was.
            bucket, about, match = self.storage.uploads[self.asked["upload_id"]]
            there = self.storage.buckets[bucket].get(about["name"])
            if there is None or there.about is not about:
                there = self.storage.make(bucket, about, self.body, match)
        elif self.asked["uploadType"] == "resumable":
            token = str(len(self.storage.uploads))
            self.storage.uploads[token] = (bucket, json.loads(self.body), match)
            host = self.headers["Host"]
            there_at = f"http://{host}/upload/storage/v1/b/{bucket}/o?upload_id={token}"
            self._send(200, b"", {"Location": there_at})
            return
        else:
            about, data = self._parts()
            there = self.storage.make(bucket, about, data, match)
        if self.storage.takes("losses"):
            self._hang_up()
            return
        self._json(self._resource(bucket, there))

    def _parts(self) -> tuple[dict[str, Any], bytes]:
        """The description and the content of a multipart/related request."""
        found = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
        assert found, self.headers["Content-Type"]
        mark = b"--" + found[1].encode()
        _, about, content, end = self.body.split(mark)
        assert end.startswith(b"--"), end
        # Behind each part's own head; the line end before a mark belongs to the mark.
        plain = [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in (about, content)]
        return json.loads(plain[0]), plain[1]

    def _list(self, bucket: str) -> None:
        prefix, after = self.asked.get("prefix", ""), self.asked.get("pageToken", "")
        names = sorted(
            name
            for name in self.storage.objects(bucket)
            if name.startswith(prefix) and name > after
        )
        shown = names[: self.storage.page]
        found: dict[str, Any] = {"items": [{"name": name} for name in shown]} if shown else {}
        if len(names) > len(shown):
            found["nextPageToken"] = shown[-1]
        self._json(found)

    def _content(self, there: Stored) -> None:
        hashes = there.hashes()
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Goog-Generation": str(there.generation),
            "X-Goog-Stored-Content-Length": str(len(there.data)),
            "X-Goog-Hash": f"crc32c={hashes['crc32c']},md5={hashes['md5Hash']}",
        }
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(begin[1]) if begin else 0
        data = there.data[first:]
        if begin:
            last = len(there.data)
            headers["Content-Range"] = f"bytes {first}-{last - 1}/{last}"
        if self.storage.takes("rest_corruptions" if begin else "corruptions"):
            data = bytes([data[0] ^ 1]) + data[1:]
        if self.storage.takes("cuts"):
            self._head(206 if begin else 200, len(data), headers)
            self.wfile.write(data[: len(data) // 2])
            self._hang_up()
            return
        self._send(206 if begin else 200, data, headers)

    def _resource(self, bucket: str, there: Stored) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            **there.about,
            **there.hashes(),
            "bucket": bucket,
            "generation": str(there.generation),
            "metageneration": "1",
            "size": str(len(there.data)),
        }

    def _refuse(self, refusal: Refusal) -> None:
        message = str(refusal)
        if self.asked.get("alt") == "media":
            self._send(refusal.code, message.encode(), {"Content-Type": "text/html"})
            return
        reason = {"domain": "global", "reason": _REASONS.get(refusal.code, ""), "message": message}
        self._json(
            {"error": {"code": refusal.code, "message": message, "errors": [reason]}}, refusal.code
        )

    def _json(self, found: dict[str, Any], code: int = 200) -> None:
        self._send(code, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(code, len(body), headers)
        self.wfile.write(body)

    def _head(self, code: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
