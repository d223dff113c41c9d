"""What a look found, and how it is told: in one line, without secrets, and in time."""

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from otel_dbevents.events import redact
from otel_dbevents.swallowing import came_through

PATIENCE: Final = 5.0
"""For how many seconds a collector or database is waited for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``mend`` says what to do where it is not well."""

    topic: str
    status: Literal["ok", "warning", "wrong"]
    text: str
    mend: str = ""


@dataclass(slots=True)
class Report:
    """All findings, the versions, and the settings with where each came from."""

    versions: dict[str, str | None]
    settings: dict[str, dict[str, Any]]
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; a warning is not."""
        return not any(finding.status == "wrong" for finding in self.findings)

    def is_well(self, *topics: str) -> bool:
        """Whether nothing is wrong with any of these topics."""
        return not any(f.status == "wrong" and f.topic in topics for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {"ok": self.ok, **asdict(self)}


def short(said: object, *secrets: object) -> str:
    """Return the first line of what was said, without secrets."""
    line = (str(said).strip() or type(said).__name__).splitlines()[0]
    for secret in filter(None, secrets):
        line = line.replace(str(secret), "***")
    line = redact(line)
    return line if len(line) <= 200 else line[:197] + "..."


def within(seconds: float, look: Callable[[], Finding], otherwise: Finding) -> Finding:
    """Return what ``look`` finds, or ``otherwise`` when it takes longer."""
    found: list[Finding] = []

    def looks() -> None:
        try:
            found.append(look())
        except Exception as error:  # noqa: BLE001 - its message may hold anything
            text = f"could not be looked at: {came_through(error)}"
            mend = "this is a defect of otel_dbevents: please report it with this line"
            found.append(Finding(otherwise.topic, "wrong", text, mend))

    looking = threading.Thread(target=looks, daemon=True)
    looking.start()
    looking.join(seconds)
    return found[0] if found else otherwise
