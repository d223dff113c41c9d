"""Connections to Redis: what a URL says, how it is reached, what is wrong and what mends it.

No text made here has a password, a user's name or a query string of a URL in it.
"""

import os
import random
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

SCHEMES: Final = ("redis", "rediss", "unix")
OLDEST: Final = (7, 0)
"""The oldest Redis that a reader can use."""
TIMEOUT_S: Final = 2.0
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_EXTRA: Final = "pip install 'otel-dbevents[redis]'"

_SINGLE: Final = "name a single Redis, as clusters are not supported"
_BY_CODE: Final = {
    "NOAUTH": ("it wants a password", "put it into the URL: redis://:password@host:6379/0"),
    "WRONGPASS": ("it refuses the password", "correct user and password in the URL"),
    "NOPERM": ("the user may not do that", "deploy/redis/users.acl has what each user needs"),
    "OOM": ("its memory is full", "raise maxmemory, or read faster: more sidecars"),
    "READONLY": ("it is a replica", "name the primary in the URL"),
    "NOREPLICAS": ("it has too few replicas to write", "look at its replicas"),
    "LOADING": ("it is loading its data", "wait: nothing is to be done"),
    "MISCONF": ("it cannot write its data to disk", "look at the disk that it writes to"),
    "WRONGTYPE": ("the key is no stream", "name another stream: OTEL_DBEVENTS_STREAM"),
    "MASTERDOWN": ("its primary is down", "name the primary in the URL"),
    "CLUSTERDOWN": ("it is a cluster, which is down", _SINGLE),
    "DB": ("it has no database of that number", "correct the number at the end of the URL"),
    "OLD": ("it does not know our commands", "use Redis 7.0 or newer, and not a Sentinel's port"),
    "FOREIGN": ("what answers there is no Redis", "correct host and port in the URL"),
    "TLS": ("it does not agree on TLS", "redis:// where it has none, else ssl_ca_certs in the URL"),
    "MOVED": ("it is a cluster", _SINGLE),
    "CROSSSLOT": ("it is a cluster", _SINGLE),
}
_WORDS: Final = (
    ("invalid username-password", "WRONGPASS"),
    ("without any password", "NOAUTH"),
    ("authentication required", "NOAUTH"),
    ("unauthenticated", "NOAUTH"),
    ("invalid password", "WRONGPASS"),
    ("read only replica", "READONLY"),
    ("loading the dataset", "LOADING"),
    ("no permissions", "NOPERM"),
    ("db index is out of range", "DB"),
    ("unknown command", "OLD"),
    ("protocol error", "FOREIGN"),
    ("ssl", "TLS"),
    ("certificate", "TLS"),
    ("command not allowed when used memory", "OOM"),
)


_COMMAND: Final = re.compile(r"permissions to run the '([a-z0-9|_-]{1,40})' command")


class RedisSetupError(ValueError):
    """The bus cannot be on Redis as it is set up. The message says what mends it."""


def is_redis(url: str) -> bool:
    """Whether the URL is one of a Redis."""
    return urlsplit(url).scheme in SCHEMES


def where(url: str) -> str:
    """Return host and port, or the path of the socket: what may be shown of a URL."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix:{parts.path}"
    return f"{parts.scheme}://{parts.hostname or 'localhost'}:{parts.port or 6379}"


def check_package() -> None:
    """Raise `RedisSetupError` where the package ``redis`` is missing or too old."""
    try:
        version = str(import_module("redis").__version__)
    except ImportError:
        raise RedisSetupError(f"the package redis is not installed: {_EXTRA}") from None
    if not version.partition(".")[0].isdigit() or int(version.partition(".")[0]) < 5:
        raise RedisSetupError(f"the package redis is {version}, 5 or newer is needed: {_EXTRA}")


def connect(url: str, *, timeout: float = TIMEOUT_S) -> Any:
    """Return a client of `redis.Redis`, which connects when it is used.

    It tries nothing twice and waits ``timeout`` seconds for an answer: whoever uses it decides
    what comes then. Raises `RedisSetupError` where the package is missing or the URL is wrong.
    """
    check_package()
    redis: Any = import_module("redis")
    retry: Any = import_module("redis.retry").Retry(import_module("redis.backoff").NoBackoff(), 0)
    try:
        client = redis.Redis.from_url(
            url,
            retry=retry,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            health_check_interval=0,
            protocol=2,  # one form of answers, whatever the package's default is
        )
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # it looks at the options, and no further
    except (ValueError, TypeError):
        raise RedisSetupError(
            f"{where(url)} cannot be used as it is written: check the URL's options"
        ) from None
    _check_files(pool.connection_kwargs, url)
    return client


def _check_files(options: Mapping[str, Any], url: str) -> None:
    """Raise `RedisSetupError` for a file of TLS that cannot be read: nothing else would name it."""
    for name in _FILES:
        path = options.get(name)
        if path and not os.access(path, os.R_OK):
            raise RedisSetupError(
                f"{where(url)} cannot be used: the file of {name} in its URL cannot be read: "
                "correct its path, or who may read it"
            )


def let_go(client: Any) -> None:
    """Close a client with its connections, which the older packages keep open."""
    client.close()
    client.connection_pool.disconnect()


def explained(error: BaseException, url: str) -> tuple[str, str]:
    """Return what is wrong with the Redis at ``url``, and what mends it; without any secret."""
    at = f"Redis at {where(url)}"
    if isinstance(error, RedisSetupError):
        return str(error), "it cannot go on so"
    known = _BY_CODE.get(_code(error))
    if known is not None:
        command = _COMMAND.search(str(error))
        which = f" ({command[1].upper()})" if known is _BY_CODE["NOPERM"] and command else ""
        return f"{at}: {known[0]}{which}", known[1]
    name = type(error).__name__
    if "Timeout" in name:
        tls = ", or knows no TLS: then redis://" if url.startswith("rediss") else ""
        return f"{at} does not answer in time", f"look whether it is overloaded or stopped{tls}"
    if "Connection" in name or isinstance(error, OSError):
        is_cut = any(word in str(error).lower() for word in ("closed by server", "reset by peer"))
        tls = " (rediss:// where it wants TLS)" if is_cut and url.startswith("redis:") else ""
        return f"{at} cannot be reached", f"start it, or correct OTEL_DBEVENTS_BUS_URL{tls}"
    return f"{at} refuses ({name})", "run `otel-dbevents check`"


def is_denied(error: BaseException) -> bool:
    """Whether it says that the user may not do that."""
    return _code(error) == "NOPERM"


def check_version(client: Any, url: str) -> None:
    """Raise `RedisSetupError` where the server is too old for a reader, or is a cluster's.

    Not where the user may not ask. Raises what the client raises when it is not reached.
    """
    try:
        found = client.info("server")
    except Exception as error:
        if is_denied(error):
            return
        raise
    version = str(found.get("redis_version", ""))
    if "cluster" in (found.get("redis_mode"), found.get("server_mode")):  # Redis and Valkey
        raise RedisSetupError(f"Redis at {where(url)} is a cluster: {_SINGLE}")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST:
        raise RedisSetupError(f"Redis at {where(url)} is {version}: 7.0 or newer is needed")


def _code(error: BaseException) -> str:
    """Return the word that Redis begins an error with; the package cuts some of them off."""
    said = str(error)
    first = said.partition(" ")[0].rstrip(":")
    if first in _BY_CODE:
        return first
    names = {"ReadOnlyError": "READONLY", "BusyLoadingError": "LOADING", "OutOfMemoryError": "OOM"}
    names |= {"NoPermissionError": "NOPERM", "MasterDownError": "MASTERDOWN"}
    names |= {"MovedError": "MOVED", "AskError": "MOVED", "ClusterCrossSlotError": "CROSSSLOT"}
    names |= {"ClusterDownError": "CLUSTERDOWN"}
    lowered = said.lower()
    found = names.get(type(error).__name__)
    return found or next((code for words, code in _WORDS if words in lowered), "")


class Backoff:
    """Times to wait between tries: doubling up to a longest, each cut by up to a half at random.

    So that those who lost one server do not all come back at one moment.
    """

    def __init__(self, least: float = 0.05, longest: float = 5.0) -> None:
        self._least, self._longest = least, longest
        self._next = least
        self._random = random.Random()  # noqa: S311 - times to wait, no secrets

    def next(self) -> float:
        """Return how many seconds to wait now."""
        wait, self._next = self._next, min(self._next * 2, self._longest)
        return wait * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with the shortest again, after a success."""
        self._next = self._least
