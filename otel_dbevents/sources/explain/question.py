"""What a slow query's plan is asked with: the statement as the driver got it, with its values."""

from typing import Any, NamedTuple


class Question(NamedTuple):
    """A statement as the driver got it, with its values. It stays in this process."""

    sql: str
    parameters: Any
    """None: the driver took the text as it is, without looking for placeholders."""


def question_of(context: Any, sql: str = "") -> Question | None:
    """Return what SQLAlchemy's execution context sent, or None where that is not one statement.

    ``sql`` is the text that the driver got, where it is known: where it is another than the
    context's (a default's own SELECT, a listener's change) there is nothing to ask.
    """
    text = context.statement
    if context.executemany or not text or (sql and sql != text):
        return None
    parameters = context.parameters[0] if context.parameters else None
    if not parameters and context.no_parameters:
        parameters = None
    return Question(text, parameters)
