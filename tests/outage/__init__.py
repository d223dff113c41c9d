"""Collectors that are not there, or wish they were not: what is lost then, and what it costs."""
