"""The dashboards, one in each module."""

from typing import Final

from deploy.grafana.boards import overview, pool, prompts, queries, sidecar, transactions
from deploy.grafana.questions import Json

ALL: Final[dict[str, Json]] = {
    f"{module.__name__.rpartition('.')[2]}.json": module.BOARD
    for module in (overview, queries, pool, transactions, prompts, sidecar)
}
"""Each dashboard by the name of its file."""
