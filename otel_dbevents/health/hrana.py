"""The probe of a libSQL server: one request over HTTP, as all of them take it.

WebSocket URLs are asked by HTTP at the same address, where libSQL's servers listen too.
"""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from otel_dbevents.health.round import LATER_S, Round

_SECURE: Final[Mapping[str, str]] = {"ws": "http", "wss": "https", "libsql": "https"}
_QUESTION: Final = json.dumps(
    {"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1"}}, {"type": "close"}]}
)


class HranaError(Exception):
    """The server answered, and not with a row. ``code`` is its code, where it said one."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.sqlstate = code


class Hrana:
    """Asks a server. ``url`` may hold the token, as SQLAlchemy's does (``?authToken=``)."""

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        scheme = _SECURE.get(parts.scheme, parts.scheme)
        self._kind = HTTPSConnection if scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/") + "/v2/pipeline"
        said = parse_qs(parts.query)
        self._token = token or (said.get("authToken") or said.get("auth_token") or [""])[0]

    def ask(self, stages: Round) -> None:
        """Connect, ask, close."""
        connection = self._kind(self._host, self._port, timeout=stages.limit_s + LATER_S)
        try:
            connection.connect()
            stages.connected()
            headers = {"content-type": "application/json"}
            if self._token:
                headers["authorization"] = f"Bearer {self._token}"
            connection.request("POST", self._path, _QUESTION, headers)
            answer = connection.getresponse()
            _refuse(answer.status, answer.read(1 << 20))
            stages.answered()
        except HTTPException as error:
            raise HranaError(type(error).__name__) from None
        finally:
            connection.close()


def _refuse(status: int, body: bytes) -> None:
    """Raise `HranaError` for what is no row."""
    if status != 200:
        raise HranaError(str(status))
    try:
        said: Any = json.loads(body)["results"][0]
    except (ValueError, LookupError, TypeError):
        raise HranaError("no answer of a libSQL server") from None
    if said.get("type") != "ok":
        raise HranaError(str((said.get("error") or {}).get("code") or "error")[:100])
