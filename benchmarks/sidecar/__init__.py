"""What the way through Redis costs: ceilings and ours, taking turns in one run.

    make bench BENCH=--sidecar

Shipping is measured against what the package ``redis`` can do at all, telling against the SDK's
own way from an event to a span that the collector took. Each row is a process of its own, between a
real Redis and a receiver of OTLP on loopback; CPU time of that process, background threads
included. All that comes out is counted: a row that did less than it should ends the run.
"""
