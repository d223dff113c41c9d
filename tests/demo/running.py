"""The demonstration run as a command, and what it told made easy to ask."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "otel_dbevents", "demo"]
_SLOW = re.compile(r"^Executing <.*> took [\d.]+ seconds\n", re.MULTILINE)
"""What asyncio says of a slow machine in its debug mode, which is a part of ``-X dev``."""


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what sets up OpenTelemetry or a terminal."""
    told = ("OTEL_", "LANGFUSE_", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    return kept | more


def otlp(endpoint: str, **more: str) -> dict[str, str]:
    """Return the variables that send a run to a collector."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    } | more


def demo(
    *arguments: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``otel-dbevents demo``."""
    finished = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**(variables or {})),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=250,
        check=False,
    )
    finished.stderr = _SLOW.sub("", finished.stderr)
    return finished


def document(finished: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON document that a run printed; nothing else may be on either stream."""
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return json.loads(finished.stdout)


class Document:
    """The JSON document of a run."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.whole = document
        self.scenes = {scene["name"]: scene for scene in document["scenes"]}

    @property
    def all_spans(self) -> list[dict[str, Any]]:
        return [span for scene in self.scenes.values() for span in scene["spans"]]

    @property
    def all_events(self) -> list[dict[str, Any]]:
        return [event for scene in self.scenes.values() for event in scene["events"]]

    def spans(self, scene: str, name: str | None = None) -> list[dict[str, Any]]:
        found = self.scenes[scene]["spans"]
        return [span for span in found if name is None or span["name"] == name]

    def span(self, scene: str, name: str) -> dict[str, Any]:
        (found,) = self.spans(scene, name)
        return found

    def children(self, parent: dict[str, Any]) -> list[str]:
        """The names of the spans below a span, in the order they started.

        Without waits for a connection: a busy machine makes some that are long enough to be told.
        """
        return [
            span["name"]
            for span in self.all_spans
            if span["parent_span_id"] == parent["span_id"]
            and span["trace_id"] == parent["trace_id"]
            and not span["name"].startswith("CHECKOUT ")
        ]

    def events(self, scene: str, *types: str) -> list[dict[str, Any]]:
        """The scene's events of these types, with type and payload as one mapping."""
        return [
            event["payload"] | {"type": event["event_type"]}
            for event in self.scenes[scene]["events"]
            if not types or event["event_type"] in types
        ]

    def answers(self, scene: str) -> list[str]:
        return [exchange["answer"] for exchange in self.scenes[scene]["exchanges"]]

    def points(self, metric: str, **attributes: Any) -> list[dict[str, Any]]:
        """The points of a metric that have these attributes (``__`` stands for a dot)."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return [
            point
            for point in self.whole["metrics"]
            if point["metric"] == metric and wanted.items() <= point["attributes"].items()
        ]
