"""What a statement does and to what, in one line: the rules, and how the parts are joined.

The rules are those of the semantic conventions 1.44, "Generating a summary of the query"
(``docs/db/database-spans.md``): operations and their targets in the order written, case and quotes
kept, at most 255 characters and never cut inside a name. Where the page leaves a choice:

- Every SELECT is an operation of its own, also within UNION and subqueries, and a table named twice
  counts twice.
- INSERT, UPDATE, DELETE and MERGE have one target, the table that changes. What an UPDATE or
  DELETE joins to (FROM, USING) is not named; subselects are.
- A CTE is named by what its body does, not by its own name.
- A literal is never a target, nor is an account, a savepoint, a setting or Oracle's DUAL. In this
  the page's own example of a single-quoted table is not followed: such text may be a secret.
- A body of code (function, procedure, trigger) is not part of the statement that defines it.
"""

LIMIT = 255
"""The longest summary, in characters."""


def join_parts(parts: list[str]) -> str:
    """Join operations and targets to a summary, leaving out what would pass `LIMIT`."""
    summary = " ".join(parts)
    if len(summary) <= LIMIT:
        return summary
    length = -1
    for count, part in enumerate(parts):
        length += 1 + len(part)
        if length > LIMIT:
            return " ".join(parts[:count])
    return summary  # pragma: no cover - the joined text was longer than the limit
