"""The sidecar, as a process."""
