"""The sidecar: a process that makes telemetry of what applications shipped into a stream.

In: entries of the stream, as a member of a group (`bus.redis.reader`). Out: spans, metrics and log
records over OTLP, each with the resource of the application that it is of, by the same bridge that
runs in an application's own process (`tellers`), and exported by itself (`parcel`).

Promised:

- An entry is taken out of the group's hands when the collector has taken all that was made of it.
  A collector that is down is waited for: nothing is lost but what the stream is too short for, and
  that is counted.
- A sidecar that is killed leaves what it held to the others, or to the next. Its spans have the
  same ids then, and are no others; numbers that were sent and not yet noted (the moment between two
  calls) are counted twice at worst.
- What cannot be verified, read or told is put aside as it was stored (`bus.redis.dead`), holds up
  nothing, and can be sent back (`dlq`). Functions of the user's own have groups, tries and dead
  letters of their own (`handlers`).
- SIGTERM and SIGINT end it within its deadline; what was not sent by then stays in Redis.
"""
