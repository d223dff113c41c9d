"""Which version this is. The package's metadata is made of it, and it costs no search for that."""

from typing import Final

VERSION: Final = "0.1.0"
