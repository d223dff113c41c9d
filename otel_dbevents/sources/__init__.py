"""Sources: what SQLAlchemy does becomes events, and what clients of ``libsql_client`` do.

In: engines, by `engine.EngineSource.attach`, and clients, by `libsql.client.ClientSource.attach`.
Out: each event, with the OpenTelemetry context of the call that it tells of, to the ``publish``
that the source was given, on the thread that made the call (a sync libSQL client has its own).

Promised: an event tells what the driver did, with the driver's own outcome; no literal, URL, user
name or driver's message is in it (messages only on request); nothing that goes wrong here reaches
the application: it is counted, and logged once a minute (`guarding.guard`); ``detach`` takes away
what was put in the place of others' methods and listeners.

`engine` finds engines and puts a `watch` on each. `query`, `transaction` and `pool` make the
events, `inserts` those of an INSERT in many batches; `reading` and `rows` follow a result to its
end, `beside` adds what is remarkable about a query, `standing` asks the driver about a transaction.
`statement` says what an SQL statement says (by `tree`, else by `text`); `database`, `failure` and
`location` what an engine, an exception and the application's stack may say; `advice` and `explain`
what would help. `around` is what the application wished to have done around the driver's call.
`libsql` is that package's clients.
"""
