"""Whether the variables hold what was meant: not the quotes or line ends of a file they are from.

A shell takes quotes away. ``docker run --env-file``, a Kubernetes manifest and many a loader of
``.env`` files do not, and the SDK then reads a URL that begins with a quote.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from otel_dbevents.check.report import Finding
from otel_dbevents.config import PREFIX, variable
from otel_dbevents.config.values import is_quoted
from otel_dbevents.events import Environment

_READ: Final = ("OTEL_", "LANGFUSE_")


def look_at_variables(environ: Mapping[str, str], *, ours: bool) -> Iterator[Finding]:
    """Say which variables have something around their value; ``ours``: those of ours as well."""
    for name, value in sorted(environ.items()):
        if not name.upper().startswith(_READ) or (name.upper().startswith(PREFIX) and not ours):
            continue
        if is_quoted(value.strip()):
            mend = "write it without: only a shell takes quotes away"
            yield Finding(
                "variables", "warning", f"{name} has quotes, which are part of its value", mend
            )
        if value.endswith(("\r", "\n")):
            text = f"{name} ends in a line end, which is part of its value"
            mend = "save the file that it is from with Unix line ends"
            yield Finding("variables", "warning", text, mend)


def look_at_environment(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Say so where a text names no environment, and counts as `Environment.LOCAL`."""
    said = environ.get(variable("environment"), "").strip()
    if said and said.lower() not in list(Environment):
        text = f"{variable('environment')} names no environment that is known, and counts as local"
        yield Finding("settings", "warning", text, f"set it to one of {', '.join(Environment)}")
