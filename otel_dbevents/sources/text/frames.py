"""What is known within one pair of parentheses while a statement is read, and its CTEs."""


class Frame:
    """One pair of parentheses, or what is outside all of them."""

    __slots__ = ("body", "cte", "ctes", "kind", "lists", "named", "passed", "recursive", "start")

    def __init__(self, *, start: bool = True, body: bool = False) -> None:
        self.start = start
        """A statement may begin here."""
        self.body = body
        """It may be any statement, not only a SELECT."""
        self.kind = ""
        """The operation, in capitals."""
        self.passed: frozenset[str] | None = None
        """The words that may come before a target; None while no target is awaited."""
        self.lists = False
        """After a comma there is another target."""
        self.named = ""
        """The type of object that CREATE and its like speak of."""
        self.cte = ""
        """Where in a WITH list: name, head, body or tail."""
        self.ctes: set[str] = set()
        self.recursive = False

    @property
    def awaits_name(self) -> bool:
        """Whether the next token, if it can be a name, is one."""
        return self.passed is not None or self.cte == "name"


class Ctes:
    """The names of the CTEs that can be seen where a statement is being read."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        """In how many of the open frames a CTE is called so."""

    def __contains__(self, name: str) -> bool:
        return bool(self._seen.get(plain(name)))

    def add(self, name: str, frame: Frame) -> None:
        """Take note of a CTE of a frame."""
        name = plain(name)
        if name not in frame.ctes:
            frame.ctes.add(name)
            self._seen[name] = self._seen.get(name, 0) + 1

    def leave(self, frame: Frame) -> None:
        """Forget the CTEs of a frame that is closed."""
        for name in frame.ctes:
            self._seen[name] -= 1


def plain(name: str) -> str:
    """Return a name as CTEs are compared: without quotes and case."""
    return name.strip('"`[]').casefold()
