"""libSQL, where it is not like every other engine.

`client` listens to the clients of the package ``libsql_client`` once it is there (`arrival`); then
`wrapping` has them tell what they do, and `calls` and `transaction` make events of it. `codes`
says what an error of libSQL's drivers may say.
"""

from typing import Final

PACKAGE: Final = "libsql_client"
KEY: Final = "_otel_dbevents"
"""Where a client keeps its watch, and a transaction its state."""
