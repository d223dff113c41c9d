"""What is known of an open parenthesis, so that lists of values can be collapsed."""


class Group:
    """An open parenthesis, and what is needed to collapse it."""

    __slots__ = (
        "begin",
        "cast",
        "comma",
        "cut",
        "flat",
        "listed",
        "rows",
        "selects",
        "tried",
        "values",
    )

    def __init__(self, begin: int, listed: str, cut: int) -> None:
        self.begin = begin
        """Where in the output its content begins."""
        self.listed = listed
        """IN, VALUES (then this is a row) or nothing."""
        self.cut = cut
        """Where the output ends once this row is dropped; -1 keeps it."""
        self.flat = True
        """Holds values, placeholders, their casts and groups of these alone."""
        self.rows = self.values = self.selects = self.cast = self.tried = False
        """Holds groups; values; a SELECT; a cast is being read; is not values alone to its end."""
        self.comma = -1
        """Where in the output its first comma stands."""
