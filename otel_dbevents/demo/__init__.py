"""The demonstration: a text-to-SQL assistant over a shop's database, seen through otel_dbevents.

The application is in `shop`, `model`, `assistant`, `tools` and `retrieval`, and reads like one of
your own; the language model is a scripted stand-in behind the same interface (`script`,
`conversations`). What happens to its database is in `scenes`; what is seen of it is made by the
library and shown by `terminal` and `report`. `prompts` reads what each prompt's spans say of its
database work; the second act, in which the database is killed and comes back, is `outage`, on a
server of its own (`database_server`); `to_langfuse` has Langfuse's own client send it;
`through_redis` ships the run to a sidecar (`servers`) and compares what comes out there
(`receiving`).
"""

import argparse
import errno
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from otel_dbevents.config import ConfigError
from otel_dbevents.demo.scenes import OUTAGE, SCENES
from otel_dbevents.exporters import sdk_disabled

_NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EISDIR)
_NEEDED = ("rich", "aiosqlite", "greenlet")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; return the exit status.

    0: it ran; 1: with ``--sidecar``, another telemetry came out there; 2: it could not start.
    """
    options = _parser().parse_args(argv)
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        return _refuse(f"not installed: {', '.join(missing)}; pip install 'otel-dbevents[demo]'")
    if sdk_disabled():
        return _refuse("OTEL_SDK_DISABLED is true, so there is nothing to see: unset it")
    if options.svg and not Path(options.svg).absolute().parent.is_dir():
        return _refuse(f"--svg: there is no folder for {options.svg}")
    from otel_dbevents.demo import run

    try:
        if options.sidecar:
            from otel_dbevents.demo.servers import check_servers

            check_servers()
        if options.json:
            same = run.as_json(beside=options.sidecar)
        else:
            same = run.on_terminal(options.scene or (), options.svg, beside=options.sidecar)
    except (ConfigError, LookupError) as error:
        return _refuse(str(error))
    except OSError as error:  # of a folder that cannot be written to: the picture's, or TMPDIR
        if error.errno not in _NO_PLACE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _refuse(f"{where}{error.strerror}")
    return 0 if same else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-dbevents demo",
        description="Run a text-to-SQL assistant over a shop's database and show what its "
        "database did: traces, events, metrics, and for each prompt who held it up, the model or "
        "the database; then kill a database under a running shop and show what was seen "
        "of it. Needs no network. With OTEL_EXPORTER_OTLP_ENDPOINT set, the same run is "
        "also sent to that collector; with LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY set, to "
        "that Langfuse, by its own client.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    parser.add_argument(
        "--scene",
        action="append",
        choices=[*(scene.name for scene in SCENES), OUTAGE],
        help="show only this scene; may be repeated",
    )
    parser.add_argument(
        "--sidecar",
        action="store_true",
        help="also ship the run's events through a Redis to a sidecar, both started here, and "
        "compare what comes out there; needs redis-server",
    )
    parser.add_argument("--svg", metavar="FILE", help="save what is shown as a picture, too")
    return parser


def _refuse(reason: str) -> int:
    sys.stderr.write(f"otel-dbevents demo: {reason}\n")
    return 2
