"""What is done with an error of ours in the application's thread: counted, and logged at times."""

import logging

from otel_dbevents.swallowing import Swallowing, told

_log = logging.getLogger("otel_dbevents.sources")


class Guard(Swallowing):
    """Takes what went wrong in our own code while the application was in a call of its own."""

    def __init__(self) -> None:
        super().__init__("source", _log)

    def caught(self, error: BaseException, *_: object) -> None:
        """Take note of an error that the application must not see; its own is raised again."""
        said = "A database event was not told (%d so far; the application is not affected)"
        try:
            super().caught(error, said, self.errors + 1)
        finally:
            del error  # else an error that passes on would keep itself

    def noted(self, error: Exception) -> None:
        """Take note of an error in a finalizer: no lock is taken there, and nothing logged."""
        try:
            told("source", error)
            self.errors += 1
            self.last = type(error).__name__
        finally:
            del error


guard = Guard()
