"""Writes the dashboards as JSON: `make dashboards`, or `python -m deploy.grafana`."""

import json
from pathlib import Path
from typing import Final

from deploy.grafana.boards import ALL

DIRECTORY: Final = Path(__file__).parent / "dashboards"


def main() -> None:
    """Write them all, and take away what is none of them."""
    for path in DIRECTORY.glob("*.json"):
        if path.name not in ALL:
            path.unlink()
    for name, board in ALL.items():
        (DIRECTORY / name).write_text(json.dumps(board, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
