"""Where Langfuse is, by which keys, and how a request gets there.

The secret key is in no text, not in `repr`, in no log line, and in no request but to that host.
"""

import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from otel_dbevents.exporters.signals import SetupError

_CLOUD: Final = "https://cloud.langfuse.com"
_TIMEOUT_S: Final = 5.0
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT_S: Final = 60.0
_KEYS: Final = "check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, and that they are of this host"
_URL: Final = "check LANGFUSE_BASE_URL, and that Langfuse runs there"


class Unsent(Exception):  # noqa: N818 - what became of a request
    """A request was not taken; the message says why. ``is_transient``: it may be, a while later."""

    def __init__(
        self, why: str, mend: str = _URL, *, is_transient: bool = False, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(why)
        self.mend = mend
        self.is_transient = is_transient
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Destination:
    """A Langfuse project. ``base_url`` has no slash at its end; ``timeout_s`` is for one batch."""

    base_url: str
    public_key: str
    secret_key: str = field(repr=False)
    timeout_s: float = _TIMEOUT_S

    @classmethod
    def from_environment(cls) -> "Destination":
        """Read the variables of Langfuse's SDK.

        Raises `SetupError` where one is missing or wrong; the message names the mend.
        """
        variables = os.environ
        public = variables.get("LANGFUSE_PUBLIC_KEY", "").strip()
        secret = variables.get("LANGFUSE_SECRET_KEY", "").strip()
        given = variables.get("LANGFUSE_BASE_URL") or variables.get("LANGFUSE_HOST") or _CLOUD
        _check_keys(public, secret)
        return cls(_checked(given.strip()), public, secret, _timeout())

    @property
    def where(self) -> str:
        """Host and port."""
        return urlsplit(self.base_url).netloc

    def ask(
        self,
        path: str,
        timeout_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send a request, with a body a POST, and return the answer. Raises `Unsent`."""
        url = self.base_url + path  # of HTTP, as was seen to
        request = Request(url, body, dict(headers or {}))  # noqa: S310
        keys = base64.b64encode(f"{self.public_key}:{self.secret_key}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {keys}")
        try:
            with _opener().open(request, timeout=max(timeout_s, 0.1)) as answer:
                found: bytes = answer.read()
                return found
        except HTTPError as error:
            with error:
                raise _refused(error) from None
        except (OSError, HTTPException, ValueError) as error:
            raise Unsent(_plain(error), is_transient=True) from None


class _NoRedirect(HTTPRedirectHandler):
    """Keys go nowhere else."""

    def redirect_request(
        self,
        req: Request,  # noqa: ARG002 - the names are the base's
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: HTTPMessage,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> Request | None:
        return None


@lru_cache(maxsize=1)
def _opener() -> OpenerDirector:
    return build_opener(_NoRedirect, HTTPSHandler(context=ssl.create_default_context()))


def _refused(error: HTTPError) -> Unsent:
    """Return what an answer of 300 and above means."""
    code = error.code
    if code in (401, 403):
        return Unsent(f"code: {code}, the keys are not taken", _KEYS)
    if code in _TRANSIENT:
        wait = error.headers.get("Retry-After", "") if error.headers else ""
        seconds = min(float(wait), _LONGEST_WAIT_S) if wait.isdigit() else 0.0
        return Unsent(f"code: {code}", is_transient=True, retry_after_s=seconds)
    return Unsent(f"code: {code}")


def _plain(error: Exception) -> str:
    """Return why there was no answer, without a URL."""
    reason: Any = error.reason if isinstance(error, URLError) else error
    return getattr(reason, "strerror", None) or type(reason).__name__


def _check_keys(public: str, secret: str) -> None:
    given = {"LANGFUSE_PUBLIC_KEY": public, "LANGFUSE_SECRET_KEY": secret}
    missing = [name for name, key in given.items() if not key]
    if missing:
        raise SetupError(
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not set: take the "
            "keys from your project's settings in Langfuse"
        )
    if public.startswith("sk-") or secret.startswith("pk-"):
        raise SetupError(
            "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are exchanged: the public one begins "
            "with pk-, the secret one with sk-"
        )


def _checked(url: str) -> str:
    """Return the URL as paths are put behind it. It is not shown: it may hold a password."""
    takes = (
        "takes the address of Langfuse, for example LANGFUSE_BASE_URL=https://cloud.langfuse.com"
    )
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_address = is_address and parts.port != 0  # asked, as it raises where it is no number
    except ValueError:
        is_address = False
    if not is_address:
        raise SetupError(f"LANGFUSE_BASE_URL {takes}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SetupError(f"LANGFUSE_BASE_URL {takes}, without user, password or query")
    if "/api/public" in parts.path:
        raise SetupError(f"LANGFUSE_BASE_URL {takes}, without the path of an interface")
    return url.rstrip("/")


def _timeout() -> float:
    """Return the seconds of ``LANGFUSE_TIMEOUT``, as Langfuse's SDK reads them."""
    given = os.environ.get("LANGFUSE_TIMEOUT", "").strip()
    try:
        seconds = float(given) if given else _TIMEOUT_S
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 300:
        raise SetupError("LANGFUSE_TIMEOUT takes seconds, for example LANGFUSE_TIMEOUT=5")
    return seconds
