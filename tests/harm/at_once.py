"""What many threads do at once, at the same place. Started by the tests.

    python -m tests.harm.at_once [SCENE ...]

Each scene has `THREADS` threads begin together, and numbers that must be exact afterwards. The
interpreter changes between them as often as it can, or has no GIL at all. Printed is a line of JSON
for each: its name, and what was wrong in it.
"""

import json
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

from otel_dbevents.sources.guarding import guard
from tests.harm import at_once_engines as engines
from tests.harm import at_once_telling as telling

SCENES = (
    telling.the_bus,
    telling.the_outbox,
    telling.one_pipeline,
    telling.spans_and_numbers,
    telling.one_prompt,
    telling.a_repetition,
    engines.the_first_use,
    engines.a_shared_connection,
    engines.dropped_results,
    engines.failed_attempts,
    engines.come_and_go,
    engines.what_is_bounded,
    engines.a_listener_of_the_applications,
)


def main(*names: str) -> None:
    sys.setswitchinterval(1e-6)
    for scene in SCENES:
        if names and scene.__name__ not in names:
            continue
        guard.errors, wrong = 0, ""
        try:
            with TemporaryDirectory() as folder:
                scene(Path(folder))
        except BaseException:
            wrong = traceback.format_exc()
        print(json.dumps([scene.__name__, wrong]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
