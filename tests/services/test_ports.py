"""Ports for servers that come back: neither the kernel's to give nor another run's."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import ports
from tests.services.ports import AT_ONCE, free_ports
from tests.services.tools import REPOSITORY

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

ASK = "from tests.services.ports import free_ports; print(*free_ports(5)); input()"


def test_they_are_none_that_the_kernel_gives_to_clients() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if first < ports.FROM + AT_ONCE:
        assert max(free_ports(5)) < 32_768  # nothing is below, and there is no better
    else:
        assert max(free_ports(AT_ONCE // 2)) < first


def test_two_processes_are_given_different_ones_though_nobody_listens_on_any() -> None:
    others: set[int] = set()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ASK],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for each in processes:
        assert each.stdout is not None
        others.update(map(int, each.stdout.readline().split()))
    assert len(others) == 10
    assert not others & set(free_ports(AT_ONCE // 2))
    for each in processes:
        each.communicate("\n")


def test_one_is_given_again_after_all_others_and_not_while_somebody_listens_on_it() -> None:
    [port] = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert port not in {free_ports(1)[0] for _ in range(AT_ONCE)}
    assert port in {free_ports(1)[0] for _ in range(AT_ONCE)}
