"""The users of deploy/redis/users.acl, on a server that has loaded it: what they need, no more."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis as client_package

from otel_dbevents.bus.redis.connecting import connect, explained
from otel_dbevents.bus.redis.dead import DeadLetters
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.check.redis import look_at_bus
from otel_dbevents.config import Config
from tests.bus.contract import PATIENCE, checked
from tests.services.redis import Redis
from tests.services.redis import redis as run_redis
from tests.services.tools import REPOSITORY

KEY = "a key of the tests, long enough"
KEYS = Keyring(KEY)
FILE = REPOSITORY / "deploy" / "redis" / "users.acl"
STREAM, LEDGER, DEAD = "dbevents", "dbevents:ledger:sidecar:app:1", "dbevents:dead"

ALLOWED: Mapping[str, Mapping[str, set[str]]] = {
    "application": {STREAM: {"xadd"}},
    "sidecar": {
        STREAM: {
            "xreadgroup",
            "xack",
            "xautoclaim",
            "xclaim",
            "xgroup|create",
            "xgroup|delconsumer",
            "xpending",
            "xinfo|groups",
            "xrange",
            "xlen",
            "watch",
        },
        LEDGER: {"zadd", "zmscore", "zrange", "zremrangebyscore", "expire", "watch"},
        DEAD: {"xadd"},
    },
    "operator": {
        STREAM: {"xrange", "xlen", "xadd", "xinfo|groups", "xpending", "xgroup|destroy"},
        DEAD: {"xrange", "xrevrange", "xlen", "xdel"},
    },
}
"""By user and key: the commands that may touch it."""
WITHOUT_KEY = {
    "application": set[str](),
    "sidecar": {"info", "unwatch", "multi", "exec"},
    "operator": {"info", "multi", "exec"},
}


class Server:
    """A server with these users, and one who may do all."""

    def __init__(self, running: Redis) -> None:
        self.port = running.port
        self.admin: Any = self.client("admin")
        self.admin.response_callbacks.pop("COMMAND")  # it cuts the commands' parts away
        self.commands = list(self._commands())
        """All there are, those within others too, and how many arguments they want."""

    def url(self, user: str) -> str:
        return f"redis://{user}:change-me-{user}@127.0.0.1:{self.port}/0"

    def client(self, user: str) -> Any:
        return connect(self.url(user))

    def _commands(self) -> Iterator[tuple[str, int]]:
        for found in self.admin.execute_command("COMMAND"):
            for name, arity, flags, *_ in found[9] or [found]:
                if "no_auth" not in {flag.decode() for flag in flags}:
                    yield name.decode(), abs(arity) - name.count(b"|") - 1

    def may(self, user: str, key: str) -> set[str]:
        """Return what the user may do with this key, as the server says."""
        pipe = self.admin.pipeline(transaction=False)
        for name, number in self.commands:
            arguments = [key] * number
            if name == "xreadgroup":
                arguments = ["GROUP", "a", "b", "STREAMS", key, ">"]
            pipe.execute_command("ACL", "DRYRUN", user, *name.split("|"), *arguments)
        said = pipe.execute(raise_on_error=False)
        return {
            name
            for (name, _), answer in zip(self.commands, said, strict=True)
            if answer in (b"OK", "OK", True)
        }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("users")
    file = directory / "users.acl"
    file.write_text(FILE.read_text() + "user admin on >change-me-admin ~* &* +@all\n")
    with run_redis(directory, {"aclfile": str(file)}) as running:
        made = Server(running)
        yield made
        made.admin.close()


def test_each_can_do_its_part(server: Server) -> None:
    sender = Sender(server.url("application"), STREAM, keys=KEYS)
    reader = Reader(server.url("sidecar"), STREAM, "sidecar", keys=KEYS)
    for first in (0, 10):
        sender.consume([(checked(first + number), None) for number in range(10)])
    server.admin.xdel(STREAM, server.admin.xrange(STREAM)[0][0])
    server.admin.xadd(STREAM, {"hello": "world"})
    assert sender.finish(PATIENCE)
    held = reader.read(10, 0)
    reader.renew()
    assert reader.holds_all()
    reader.put_aside(held[0], "ValueError", [3], stage="handler", handler="mail", tries=3)
    reader.commit(held[1:])
    assert [dict(counts) for counts in reader.settle().values()] == [{"trimmed": 10}]
    assert reader.lag() == (0, 0.0)
    client = server.client("operator")
    letters = DeadLetters(client, STREAM, KEYS)
    found = {each.reason: each for each in letters.all()}
    assert sorted(found) == ["ValueError", "malformed"]
    letters.retry(found["ValueError"])
    letters.drop(found["malformed"])
    assert list(letters.all()) == []
    again = reader.read(10, 0)
    assert [event.latency_ms for each in again for event in each.events] == [13]  # type: ignore[attr-defined]
    reader.commit(again)
    reader.close()
    client.close()
    config = Config(bus_url=server.url("operator"), stream=STREAM, signing_key=KEY)
    assert [each.status for each in look_at_bus(config)] == ["ok", "warning"]


UNSEEN = "who reads the stream and the dead letters: not for this user to see"


@pytest.mark.parametrize(("user", "last"), [("application", UNSEEN), ("sidecar", UNSEEN[25:])])
def test_a_check_finds_nothing_wrong_with_a_user_who_may_do_what_it_needs_and_no_more(
    server: Server, user: str, last: str
) -> None:
    length = server.admin.xlen(STREAM)
    config = Config(bus_url=server.url(user), stream=STREAM, signing_key=KEY)
    found = [each for each in look_at_bus(config) if "reads for" not in each.text]
    assert [each.status for each in found] == ["ok", "ok"]
    assert found[1].text == last
    assert "operator" in found[1].mend
    assert server.admin.xlen(STREAM) == length


def test_a_check_by_a_user_who_may_neither_look_nor_ship_says_what_it_may_not(
    server: Server,
) -> None:
    server.admin.execute_command("ACL", "SETUSER", "none", "on", ">change-me-none", "-@all")
    config = Config(bus_url=server.url("none"), stream=STREAM, signing_key=KEY)
    [found] = look_at_bus(config)
    assert found.status == "wrong"
    assert found.text.endswith("the user may not do that (XADD)")
    server.admin.execute_command("ACL", "DELUSER", "none")


@pytest.mark.parametrize("user", ALLOWED)
def test_of_all_commands_each_may_do_those_it_needs(server: Server, user: str) -> None:
    for key in (STREAM, LEDGER, DEAD, "other", f"{STREAM}2", f"{STREAM}:other"):
        allowed = ALLOWED[user].get(key, set()) | WITHOUT_KEY[user]
        assert server.may(user, key) == allowed, key


@pytest.mark.parametrize("user", ALLOWED)
def test_every_other_command_is_refused_and_said_to_be(server: Server, user: str) -> None:
    client = server.client(user)
    may = WITHOUT_KEY[user].union(*ALLOWED[user].values())
    others = [each for each in server.commands if each[0] not in may]
    assert len(others) > 200
    pipe = client.pipeline(transaction=False)
    for name, number in others:
        pipe.execute_command(*name.split("|"), *[STREAM] * number)
    for (name, _), answer in zip(others, pipe.execute(raise_on_error=False), strict=True):
        assert isinstance(answer, client_package.ResponseError), name
        if name.startswith(("module|", "debug")):
            continue  # refused to everybody, in other words
        said = explained(answer, server.url(user))[0]
        assert said.endswith(f"the user may not do that ({name.upper()})"), name
    client.close()


def test_nobody_is_let_in_without_a_name(server: Server) -> None:
    for url in (
        f"redis://127.0.0.1:{server.port}/0",
        f"redis://:Xq7redis@127.0.0.1:{server.port}/0",
    ):
        client = connect(url)
        with pytest.raises(client_package.RedisError) as caught:
            client.ping()
        assert explained(caught.value, url)[1]
        client.close()


def test_the_page_names_the_file() -> None:
    assert "deploy/redis/users.acl" in (REPOSITORY / "docs" / "sidecar.md").read_text()
    assert all(line.startswith("user ") for line in FILE.read_text().splitlines())
