"""Sources: what SQLAlchemy does becomes events, and what clients of ``libsql_client`` do.

In: engines, by `engine.EngineSource.attach`, and clients, by `libsql_client.ClientSource.attach`.
Out: each event, with the OpenTelemetry context of the call that it tells of, to the ``publish``
that the source was given, on the thread that made the call (a sync libSQL client has its own).

Promised: an event tells what the driver did, with the driver's own outcome; no literal, URL, user
name or driver's message is in it (messages only on request); nothing that goes wrong here reaches
the application: it is counted, and logged once a minute (`watch.guard`); ``detach`` takes away what
was put in the place of others' methods and listeners.

`engine` finds engines, `query`, `transaction` and `pool` make the events, `rows` counts what is
read, `statement` says what an SQL statement says (by `tree`, else by `text`), `database` and
`failure` what an engine and an exception may say, `libsql_codes` what an error of libSQL may.
`libsql_client` wraps that package's clients when it is there or comes (`arrival`); `libsql_calls`
and `libsql_transaction` make their events.
"""
