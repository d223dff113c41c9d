"""The bus over TLS, against a real Redis with a certificate that is made here."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_dbevents.bus.redis.connecting import connect, explained
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from tests.bus.contract import PATIENCE, checked
from tests.bus.test_redis_way import send_in_vain
from tests.services.ports import free_ports
from tests.services.redis import PASSWORD
from tests.services.redis import redis as run_redis
from tests.services.tools import OPENSSL, require


@dataclass(frozen=True)
class Certificate:
    """A certificate that vouches for itself, and its key."""

    file: Path
    key: Path

    @classmethod
    def made(cls, directory: Path, name: str, of: str) -> "Certificate":
        """Make one of a server."""
        made = cls(directory / f"{name}.pem", directory / f"{name}.key")
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
        files = ["-keyout", str(made.key), "-out", str(made.file)]
        named = ["-subj", "/CN=test", "-addext", f"subjectAltName={of}"]
        command = [str(require(OPENSSL)), "req", "-x509", *kind, *files, *named]
        subprocess.run(command, check=True, capture_output=True)
        return made


@dataclass(frozen=True)
class Server:
    """A Redis that speaks TLS at one port and none at the other."""

    port: int
    plain_port: int
    own: Certificate
    other: Certificate

    def url(self, certificate: Certificate | None, **changed: Any) -> str:
        """Return its URL, for whoever trusts this certificate."""
        scheme, port = changed.get("scheme", "rediss"), changed.get("port", self.port)
        trusts = "" if certificate is None else f"?ssl_ca_certs={certificate.file}"
        return f"{scheme}://:{PASSWORD}@127.0.0.1:{port}/0{trusts}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("tls")
    own = Certificate.made(directory, "own", "IP:127.0.0.1")
    (port,) = free_ports(1)
    options = {
        "tls-port": str(port),
        "tls-cert-file": str(own.file),
        "tls-key-file": str(own.key),
        "tls-ca-cert-file": str(own.file),
        "tls-auth-clients": "no",
    }
    with run_redis(directory, options) as running:
        other = Certificate.made(directory, "other", "IP:127.0.0.1")
        yield Server(port, running.port, own, other)


def test_events_go_over_tls_to_a_server_whose_certificate_is_trusted(server: Server) -> None:
    url = server.url(server.own)
    sender, reader = Sender(url, "tls"), Reader(url, "tls", "group")
    sender.consume([(checked(number), None) for number in range(250)])
    assert sender.finish(PATIENCE)
    held = reader.read(10, 0)
    assert sum(len(each.events) for each in held) == 250
    reader.commit(held)
    assert reader.settle() == {}
    reader.close()


@pytest.mark.swallows
def test_a_certificate_that_is_not_trusted_gets_no_event_and_is_said_with_its_mend(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    sender = Sender(server.url(server.other), "nowhere")
    send_in_vain(sender)
    assert sender.lost == {"shutdown": 1}
    [said] = [text for text in caplog.messages if "events wait in memory" in text]
    assert "it does not agree on TLS" in said
    assert "ssl_ca_certs in the URL" in said
    assert PASSWORD not in caplog.text
    client = connect(server.url(server.own))
    assert client.xlen("nowhere") == 0
    client.close()


def test_what_is_wrong_with_tls_is_named_at_the_reader_too(server: Server) -> None:
    no_file = server.url(None)
    not_its_port = server.url(server.own, port=server.plain_port)
    plain = server.url(None, scheme="redis")
    for url, what, mend in (
        (server.url(server.other), "it does not agree on TLS", "ssl_ca_certs"),
        (no_file, "it does not agree on TLS", "ssl_ca_certs"),
        (not_its_port, "does not answer in time", "knows no TLS: then redis://"),
        (plain, "cannot be reached", "rediss:// where it wants TLS"),
    ):
        reader = Reader(url, "tls", "group")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the package's own
            reader.read(1, 0)
        said = explained(caught.value, url)
        assert what in said[0], (url, said)
        assert mend in said[1], (url, said)
        assert PASSWORD not in "".join(said)
        reader.reconnect()
