"""Real servers for the tests: databases, the collector, Jaeger, Prometheus and Loki.

Each module starts one of them on free loopback ports in a private directory, asks it questions, and
ends only the process it started. `tools` decides what happens where one is missing; `plugin` has
the fixtures.
"""
