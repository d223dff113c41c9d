"""Sources: what SQLAlchemy does becomes events.

In: engines, by `engine.EngineSource.attach`. Out: each event, with the OpenTelemetry context of the
call that it tells of, to the ``publish`` that the source was given, on the application's thread.

Promised: an event tells what the driver did, with the driver's own outcome; no literal, URL, user
name or driver's message is in it (messages only on request); nothing that goes wrong here reaches
the application: it is counted, and logged once a minute (`watch.guard`); ``detach`` takes away what
was put in the place of SQLAlchemy's methods and listeners.

`engine` finds engines, `query`, `transaction` and `pool` make the events, `rows` counts what is
read, `statement` says what an SQL statement says (by `tree`, else by `text`), `database` and
`failure` what an engine and an exception may say.
"""
