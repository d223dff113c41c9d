"""Makes statements with marks in their literals, comments and secrets, and breaks them."""

from itertools import count
from random import Random

from tests.sources.test_summary import SUMMARIES
from tests.sources.test_text import SANITISED
from tests.sources.test_zones import PASSWORDS

_EXISTING = [
    *(case.values[0] for case in SANITISED),
    *(sql for sql, _ in SUMMARIES),
    *PASSWORDS,
]
_WORDS = """
SELECT FROM WHERE IN VALUES ROW TRUE NULL AS WITH INSERT INTO UPDATE SET DELETE PRAGMA key ATTACH
USER CREATE GRANT TO EXEC EXPLAIN ANALYZE FOR UNION RECURSIVE JOIN ON TABLE DROP dual TOP PASSWORD
BY IDENTIFIED OPTIONS CONNECTION COPY CONNECT CREDENTIALS BEGIN END CALL NEXT VALUE BETWEEN AND IS
NOT DEFAULT MERGE THEN ( ) , ; . ' " ` [ ] $ $$ $t$ -- /* */ /*! # \\ ? ?| :a :: : @a @ % %s %(a)s
$1 - + = := < > || -> #> { } 1 1.5 .5 e1 0x1 a b.c 'e' N' E' q'[ ]' U&'
"""
_PIECES = [*_WORDS.split()]
_PIECES += ["\n", "\r", "\r\n", "\t", " ", "\x00", "\u00a0", "\u2028", "é", "--\n", "''", '""']
_STATEMENTS = [
    "SELECT {0} AS a, {1} FROM t1 JOIN t2 ON t1.a = {2} LIMIT 10",
    "SELECT a FROM t WHERE b IN ({0}, {1}, {2}) AND c BETWEEN {0} AND {1}",
    "INSERT INTO t1 (a, b) VALUES ({0}, {1}), ({1}, {2}), ({0}, {0}) RETURNING a",
    "UPDATE t1 SET a = {0}, b = {1} WHERE c = {2}",
    "DELETE FROM t1 WHERE a BETWEEN {0} AND {1} OR b LIKE {2}",
    "WITH x AS (SELECT {0}) SELECT * FROM x WHERE a = {1} UNION SELECT {2}",
    "SET a = {0}, {1}",
    "PRAGMA key = {0}",
    "CALL p({0}, {1})",
    "EXEC p {0}, @a = {1}",
    "SELECT * FROM t1 WHERE a = {0}; DELETE FROM t2 WHERE b = {1}",
    "CREATE TABLE t1 (a INT DEFAULT {0}, CHECK (a <> {1}))",
    "CREATE USER u IDENTIFIED BY {0}",
    "ALTER ROLE u PASSWORD {0} VALID UNTIL {1}",
    "CREATE SERVER s OPTIONS (user {0}, password {1})",
    "COPY t FROM {0} CREDENTIALS {1}",
    "MERGE INTO t USING s ON a = {0} WHEN MATCHED THEN UPDATE SET b = {1}",
    "SELECT CASE WHEN a = {0} THEN {1} ELSE {2} END",
    "SELECT f({0}, {1})->{2}::text[1:2]",
    "BEGIN p({0}); END;",
]
_FORMS = {
    "": ["'{}'", "'it''s {}'", "N'{}'", "'a {}, 1); DROP TABLE x; --'", "'/* {}'", "'-- {}'"],
    "postgresql": [r"E'it\'s {}'", "$${} ' $$", "$t${} $$ ' $t$", "'{}\\'", "B'{}'", "U&'{}'",
                   "E'a'\n  '\\'{}'"],
    "mysql": ['"{}"', r"'it\'s {}'", r'"it\"s {}"', "_utf8'{}'", "x'{}'", '"it""s {}"'],
    "sqlite": ["x'{}'", "'{}\\'", "'{} [a'"],
    "mssql": ["'{}\\'", "'{} [a'", "N'it''s {}'"],
    "oracle": ["q'[it's {}]'", "q'!{}'!'", "nq'{{{}}}'", "Q'<{}>'", "DATE '{}'"],
}  # fmt: skip
_COMMENTS = {
    "": ["/* {} */", "/* ' {} */", "-- {}\n", "-- it's {}\n", '/* " {} */'],
    "postgresql": ["/* /* {} */ ' */", "--{}'\r"],
    "mysql": ["# {}\n", "# it's {}\n", "/* /* {} */", "--\t{}'\n"],
    "mssql": ["/* /* {} */ ' */"],
}


class Grammar:
    """Makes statements; the same seed makes the same ones."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._marks = count(1)

    def statement(self, dialect: str) -> str:
        """Return a statement of the dialect, its literals and comments marked."""
        if self._random.random() < 0.25:
            return self._random.choice(_EXISTING).replace("{}", self._literal(dialect))
        written = [self._expression(dialect) for _ in range(3)]
        sql = self._random.choice(_STATEMENTS).format(*written)
        while self._random.random() < 0.3:
            sql = self._commented(sql, dialect)
        return sql

    def broken(self, sql: str) -> str:
        """Return the statement with a few pieces put in, left out, moved or doubled."""
        for _ in range(self._random.randint(1, 6)):
            begin, end = sorted(self._random.choices(range(len(sql) + 1), k=2))
            end = min(end, begin + self._random.choice((0, 1, 1, 2, 8, 30)))
            part = sql[begin:end]
            new = self._random.choice(("", part * 2, part[::-1], self._random.choice(_PIECES)))
            sql = sql[:begin] + new + sql[end:]
        return sql

    def _mark(self) -> str:
        return f"zq{next(self._marks)}q"

    def _literal(self, dialect: str) -> str:
        forms = _FORMS[""] + (_FORMS[dialect] * 2 if dialect else [])
        return self._random.choice(forms).format(self._mark())

    def _expression(self, dialect: str) -> str:
        literal = self._literal(dialect)
        forms = ("{}", "{}", "lower({})", "(a || {})", "-{}", "({})", "(a IN (1, {}, 2))")
        return self._random.choice(forms).format(literal)

    def _commented(self, sql: str, dialect: str) -> str:
        forms = _COMMENTS[""] + _COMMENTS.get(dialect, [])
        comment = self._random.choice(forms).format(self._mark())
        words = sql.split(" ")
        words.insert(self._random.randint(0, len(words)), comment)
        return " ".join(words)
