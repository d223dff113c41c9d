"""libSQL, where it is not like every other engine.

`client` wraps the clients of the package ``libsql_client`` when it is there or comes (`arrival`);
`calls` and `transaction` make their events. `codes` says what an error of libSQL's drivers may say.
"""
