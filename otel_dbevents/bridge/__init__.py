"""Bridge: events become telemetry."""
