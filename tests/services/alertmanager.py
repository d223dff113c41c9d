"""Alertmanager with the project's own configuration and templates."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.prometheus import shortened
from tests.services.tools import ALERTMANAGER, REPOSITORY, require
from tests.services.web import answers, get_json

CONFIG = REPOSITORY / "deploy" / "alertmanager" / "alertmanager.yml"
TEMPLATES = CONFIG.with_name("templates")
SLACK = "/run/secrets/slack_webhook"
DISCORD = "/run/secrets/discord_webhook"
"""Where the configuration has its secrets."""


@dataclass(frozen=True)
class Alertmanager:
    """A running Alertmanager."""

    process: Process
    address: str
    """host:port, for Prometheus."""

    def alerts(self) -> list[dict[str, Any]]:
        """Return what it knows, with `status.state` saying whether it is suppressed."""
        found: list[dict[str, Any]] = get_json(f"http://{self.address}/api/v2/alerts")
        return found


def configure(directory: Path, *, slack: str, discord: str, times: int = 1) -> Path:
    """Write the configuration with these webhooks, and durations so many `times` shorter.

    Secrets are files, as in production. An Alertmanager older than 0.28 (Debian's) knows no file
    for Discord's address: there it stands in the configuration itself.
    """
    text = shortened(CONFIG.read_text(), times)
    for name, where, url in (("slack", SLACK, slack), ("discord", DISCORD, discord)):
        (directory / name).write_text(url + "\n")
        assert where in text
        text = text.replace(where, str(directory / name))
    if not knows_files():
        text = text.replace(f"webhook_url_file: {directory / 'discord'}", f"webhook_url: {discord}")
    shutil.copytree(TEMPLATES, directory / "templates")
    (directory / "alertmanager.yml").write_text(text)
    return directory / "alertmanager.yml"


def knows_files() -> bool:
    """Whether this Alertmanager reads Discord's address from a file: from 0.28 on."""
    said = subprocess.run(
        [str(require(ALERTMANAGER)), "--version"], capture_output=True, text=True, check=True
    )
    version = (said.stdout + said.stderr).split("version ")[1].split(".")
    return (int(version[0]), int(version[1])) >= (0, 28)


@contextmanager
def alertmanager(
    directory: Path, *, slack: str, discord: str, times: int = 1
) -> Iterator[Alertmanager]:
    """Run it, telling these two webhooks."""
    binary = require(ALERTMANAGER)
    config = configure(directory, slack=slack, discord=discord, times=times)
    (port,) = free_ports(1)
    command = [
        str(binary),
        f"--config.file={config}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    ready = f"http://127.0.0.1:{port}/-/ready"
    process = Process("alertmanager", command, directory, lambda: answers(ready))
    process.start()
    try:
        yield Alertmanager(process, f"127.0.0.1:{port}")
    finally:
        process.stop()
