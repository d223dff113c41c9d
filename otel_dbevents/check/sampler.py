"""Which new traces are kept, and what the SDK makes of a variable that it does not understand.

It warns of one when it is set up, once, and goes on with another sampler. So it is asked which.
"""

import os
import re
from collections.abc import Iterator
from typing import Final

from otel_dbevents.check.heard import Heard
from otel_dbevents.check.report import Finding, short

_SAMPLER: Final = "OTEL_TRACES_SAMPLER"
_ARGUMENT: Final = "OTEL_TRACES_SAMPLER_ARG"
_PLAIN: Final = ("always_on", "always_off", "parentbased_always_on", "parentbased_always_off")
_BY_RATIO: Final = ("traceidratio", "parentbased_traceidratio")
_ROOT: Final = re.compile(r"(?:ParentBased\{root:)?(\w+)(?:\{([-+.\de]+)\})?")
_KEPT: Final = {"AlwaysOnSampler": 1.0, "AlwaysOffSampler": 0.0}


def look_at_sampler() -> Iterator[Finding]:
    """Say how much is kept, where a variable says it, and what is wrong with that variable."""
    named, argument = _value(_SAMPLER), _value(_ARGUMENT)
    if not named and not argument:
        return
    share, description, complained = _in_force()
    does = _does(share, description)
    name = named.lower()
    if name in _BY_RATIO and share != _number(argument):
        said = f"{_ARGUMENT}={short(argument)} is no number from 0 to 1"
        said = said if argument else f"{_ARGUMENT} is not set"
        mend = f"set {_ARGUMENT}=0.1, for one in ten"
        yield Finding("traces", "wrong", f"{said}: {does}", mend)
    elif name and name not in _BY_RATIO and complained:
        said = f"{_SAMPLER}={short(named)} is no sampler that the SDK can make"
        mend = f"set it to one of {', '.join((*_PLAIN, *_BY_RATIO))}"
        yield Finding("traces", "wrong", f"{said}: {does}", mend)
    elif argument and name in ("", *_PLAIN):
        said = f"{_ARGUMENT} is not read, as {_SAMPLER} names none of {' and '.join(_BY_RATIO)}"
        yield Finding("traces", "warning", f"{said}: {does}", f"set {_SAMPLER}={_BY_RATIO[1]}")
    elif share != 0:
        yield Finding("traces", "ok", does)
    if share == 0:
        mend = f"unset {_SAMPLER}" if name not in _BY_RATIO else f"raise {_ARGUMENT}"
        yield Finding("traces", "warning", "the sampler drops every new trace", mend)


def _in_force() -> tuple[float | None, str, bool]:
    """Return the share that is kept, the sampler's name for itself, and whether the SDK warned.

    Without a name: with these variables the SDK makes no provider.
    """
    from opentelemetry.sdk import _configuration as sdk
    from opentelemetry.sdk.trace import TracerProvider

    with Heard("opentelemetry.sdk") as heard:
        made = sdk._import_sampler(sdk._get_sampler())
        try:
            sampler = TracerProvider(sampler=made, shutdown_on_exit=False).sampler
        except ValueError:  # SDKs before 1.45 do not take every number
            return None, "", True
    description = sampler.get_description()
    found = _ROOT.match(description)
    kind, ratio = found.groups() if found else ("", None)
    share = _number(ratio) if kind == "TraceIdRatioBased" else _KEPT.get(kind)
    return share, description, bool(heard.lines)


def _does(share: float | None, description: str) -> str:
    if not description:
        return "the SDK cannot be set up with it"
    if share is None:
        return f"the sampler is {short(description)}"
    if share in (0, 1):
        return f"the SDK {'keeps' if share else 'drops'} every new trace"
    return f"the SDK keeps {share:g} of the new traces"


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()
