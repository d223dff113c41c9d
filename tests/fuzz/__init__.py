"""Searches for texts that the analyser of SQL reads wrongly: `make fuzz FUZZ_SECONDS=600`."""
