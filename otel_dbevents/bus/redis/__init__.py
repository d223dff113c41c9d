"""The bus on Redis Streams: events leave the process as bytes, and another process reads them.

In: batches from a bus in memory (`sender.Sender`, on that bus's worker, never on the application's
thread). Out: the same events, in a process that reads the stream (`reader.Reader`), or in this one
(`bus.RedisBus`, an `EventBus`).

Promised:

- An entry of the stream says which producer wrote it, in which epoch (a new one in each process),
  and the number of its first event. So every event that was put in is delivered, or its loss is
  known to the event, and one that comes twice is delivered once.
- An entry is taken out of the group's hands when its events were handled, not when it was read:
  what a reader held when it was killed, another takes over.
- What is not what a producer of ours wrote goes to the stream ``NAME:dead``, with the reason.
- Redis dead, slow or full costs the application nothing: events wait in the buffer of the bus in
  memory, the oldest give way and are counted.

The package ``redis`` (the extra ``otel-dbevents[redis]``) is imported when a connection is wanted.
"""
