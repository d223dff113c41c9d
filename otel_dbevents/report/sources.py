"""What every source of spans has in common: how it fails."""


class SourceError(Exception):
    """A source that cannot be read. The message says what is wrong, ``mend`` what to do."""

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.mend = mend
