"""No credential leaves in a text, and innocent text stays as it is."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_dbevents.events import (
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    DatabaseType,
)
from otel_dbevents.redaction import REMOVED, plain_text, redact, redacted
from tests.any_event import unhurried

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        # URLs
        ("postgresql://ada:hunter2@db:5432/shop", "postgresql://db:5432/shop"),
        (
            "cannot reach mysql+aiomysql://ada:hunter2@db/x now",
            "cannot reach mysql+aiomysql://db/x now",
        ),
        ("postgresql://ada:a@hunter2@db/shop", "postgresql://db/shop"),
        ("postgresql://ada:hunter2:b@db/shop", "postgresql://db/shop"),
        ("postgresql://ada:a/hunter2@db/shop", "postgresql://db/shop"),
        ("postgresql://ada:a/b@hunter2@db/shop", "postgresql://db/shop"),
        ("postgresql://ada:a?b#hunter2@db/shop", "postgresql://db/shop"),
        ("postgresql://ada:hunter2%40%2F%3A@db/shop", "postgresql://db/shop"),
        ('postgresql://ada:"hunter2"@db/shop', "postgresql://db/shop"),
        ("redis://:hunter2@cache:6379/0", "redis://cache:6379/0"),
        ("https://hunter2@git.example.com/x", "https://git.example.com/x"),
        ("https://hunter2@h/x?next=https://ada:hunter2@i/y", "https://h/x?next=https://i/y"),
        ("https://h/x?next=https://ada:hunter2@i/y", "https://h/x?next=https://i/y"),
        (
            "postgresql://db/shop?user=ada&password=hunter2",
            "postgresql://db/shop?user=ada&password=[REDACTED]",
        ),
        ("one://a:hunter2@b two://c:hunter2@d", "one://b two://d"),
        # connection strings
        ("host=db password=hunter2 user=ada", "host=db password=[REDACTED] user=ada"),
        ("password = 'a hunter2' user=ada", "password = '[REDACTED]' user=ada"),
        (r"password='a\' hunter2' user=ada", "password='[REDACTED]' user=ada"),
        ("password='a'' hunter2' user=ada", "password='[REDACTED]' user=ada"),
        ("password=a,b;c)hunter2 user=ada", "password=[REDACTED] user=ada"),
        ("Server=db;PWD={a; hunter2};Port=1", "Server=db;PWD=[REDACTED]"),
        ("odbc_connect=UID%3Dada%3BPWD%3Dhunter2%3B", "odbc_connect=UID%3Dada%3BPWD%3D[REDACTED]"),
        ("DB_PASS=hunter2", "DB_PASS=[REDACTED]"),
        ("MYSQL_PWD=hunter2", "MYSQL_PWD=[REDACTED]"),
        ("os.environ['PASSWORD'] = 'hunter2'", "os.environ['PASSWORD'] = '[REDACTED]'"),
        ("connect(password=b'a hunter2', user=1)", "connect(password='[REDACTED]', user=1)"),
        ("psql --password hunter2 -h db", "psql --password [REDACTED] -h db"),
        ("ALTER ROLE ada PASSWORD 'a hunter2'", "ALTER ROLE ada PASSWORD '[REDACTED]'"),
        ("IDENTIFIED BY 'hunter2' x", "IDENTIFIED BY '[REDACTED]' x"),
        # JSON and the like
        ('{"password": "hunter2", "n": 1}', '{"password": "[REDACTED]", "n": 1}'),
        ('{"password":"hunter2","n":1}', '{"password":"[REDACTED]","n":1}'),
        (r'{"password": "a\" hunter2", "n": 1}', '{"password": "[REDACTED]", "n": 1}'),
        (
            r'"{\"password\": \"a hunter2\", \"n\": 1}"',
            r'"{\"password\": \"[REDACTED]\", \"n\": 1}"',
        ),
        ("{'passwd': 'hunter2'}", "{'passwd': '[REDACTED]'}"),
        ('{"password": "hunter2', '{"password": "[REDACTED]"'),
        ('{"api_keys": ["a", "hunter2"]}', '{"api_keys": [REDACTED]'),
        ("client_secret: hunter2", "client_secret: [REDACTED]"),
        ("secretAccessKey => hunter2", "secretAccessKey => [REDACTED]"),
        ("aws_secret_access_key=hunter2", "aws_secret_access_key=[REDACTED]"),
        # headers and keys
        ("Authorization: Bearer hunter2", "Authorization: [REDACTED]"),
        ("authorization: Basic hunter2==\r\nHost: x", "authorization: [REDACTED]\r\nHost: x"),
        ('"Authorization": "Bearer hunter2", x', '"Authorization": "[REDACTED]", x'),
        (
            'Authorization: Digest username="a", response="hunter2"\nX: y',
            "Authorization: [REDACTED]\nX: y",
        ),
        ("Proxy-Authorization: hunter2", "Proxy-Authorization: [REDACTED]"),
        ("X-Api-Key: hunter2", "X-Api-Key: [REDACTED]"),
        ("api key = hunter2", "api key = [REDACTED]"),
        ("apikey=hunter2", "apikey=[REDACTED]"),
        ("access_token=hunter2", "access_token=[REDACTED]"),
        ("sent Bearer abc.hunter2 to x", "sent Bearer [REDACTED] to x"),
        ("used sk-lf-hunter2hunter2hunter2 there", "used [REDACTED] there"),
        ("ghp_hunter2hunter2hunter2 x", "[REDACTED] x"),
        ("eyJhunter2hunter2.eyJhunter2.hunter2 x", "[REDACTED] x"),
        ("AKIAIOSFODNN7EXAMPLE x", "[REDACTED] x"),
    ],
)
def test_a_credential_is_removed_and_nothing_that_is_needed(text: str, left: str) -> None:
    assert redact(text) == left
    assert redact(left) == left
    assert SECRET not in left
    assert SECRET not in str(DatabaseConnectionFailed("local", text).to_dict())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "connection refused",
        'FATAL: password authentication failed for user "app"',
        "the token expired; get a new token from the secretary: Ada",
        "http://localhost:4318/v1/traces answered 503",
        "http://[::1]:4318/v1/traces",
        "postgresql://db.example.com:5432/shop?sslmode=require",
        "sqlite:////srv/data/shop.db",
        "mail ada@example.com about http://example.com/x",
        "user@host says: hello",
        "SELECT * FROM passwords WHERE id = ?",
        "prompt_tokens: 512, total_tokens=640",
        "Bearer authentication is required",
        "key: value, keyboard=us, compass: north",
        "no such table: secrets",
        "the bearer of news",
        "größe = 5 • naïve",
        "--no-password -h db",
    ],
)
def test_innocent_text_stays(text: str) -> None:
    assert redact(text) == text


PIECES = st.sampled_from(
    [
        *(
            "password",
            "token",
            "Authorization",
            "bearer",
            "identified by",
            "secret",
            "tokens",
            "pass",
        ),
        *(
            "=",
            ":",
            "=>",
            "://",
            "@",
            "/",
            " ",
            '"',
            "'",
            "\\",
            "[",
            "]",
            "{",
            "}",
            "%3D",
            "\n",
            "--",
        ),
        *("ada", "x", "7", "hunter2hunter2", REMOVED, "[REDACTED", "-", "_key", "digest ", "b'"),
    ]
)


@unhurried
@given(st.lists(PIECES, max_size=14).map("".join))
@example('://token="a b"@h')
@example("password=[REDACTED]]")
def test_twice_is_the_same_as_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@unhurried
@given(st.text(st.characters(codec="utf-8", exclude_characters="'\\"), min_size=1))
def test_a_quoted_password_is_removed_whatever_it_is(password: str) -> None:
    assert redact(f"user=ada password='{password}' host=db") == (
        f"user=ada password='{REMOVED}' host=db"
    )


@unhurried
@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1))
def test_a_password_in_a_url_is_removed_whatever_it_is(password: str) -> None:
    told = redact(f"cannot reach postgresql://ada:{password}@db.example.com/shop today")
    assert told == "cannot reach postgresql://db.example.com/shop today"


@pytest.mark.parametrize(
    "unit",
    [
        *("://a:", "://u@h/", "://a:@", "://", "@", "a-", "--a-", "--password", "--", "secret-"),
        *("password=", 'token:"', "password='", 'password=""', "password=\\\\", "password\\", "\\"),
        *("password=[", "password={", "password ", "authorization: digest ", "identified by "),
        *(
            "bearer ",
            "Bearer a",
            "eyJaaaaaaaaa-",
            "sk-",
            "api key ",
            "pass ",
            "pass=",
            " ",
            "p",
            "1",
        ),
    ],
)
def test_a_megabyte_of_anything_is_no_burden(unit: str) -> None:
    """No clock: what is not linear would take hours here."""
    text = unit * (1_000_000 // len(unit))
    assert len(redact(text)) <= 11 * len(text)


def test_details_are_plain_values_without_credentials() -> None:
    class Level(int):
        pass

    event = DatabaseHealthCheckCompleted(
        "healthy",
        1,
        {
            "url": "postgresql://ada:hunter2@db/x",
            "Password": "hunter2",
            "pin_secret": 7,
            "password_set": True,
            "token": None,
            "total_tokens": 12,
            "api-keys": ["hunter2"],
            "postgresql://ada:hunter2@db/y": "ok",
            "nested": [{"passwd": "hunter2", "note": "password=hunter2"}, ("a", b"raw")],
            "level": Level(3),
            "kind": DatabaseType.SQLITE,
            "huge": 2**70,
            "ratio": float("inf"),
            "file": "a\udcff",
            5: 1.5,
        },
    )
    assert event.details == {
        "url": "postgresql://db/x",
        "Password": REMOVED,
        "pin_secret": REMOVED,
        "password_set": True,
        "token": None,
        "total_tokens": 12,
        "api-keys": REMOVED,
        "postgresql://db/y": "ok",
        "nested": [{"passwd": REMOVED, "note": "password=[REDACTED]"}, ["a", "b'raw'"]],
        "level": 3,
        "kind": "sqlite",
        "huge": "0x400000000000000000",
        "ratio": "inf",
        "file": "a?",
        "5": 1.5,
    }
    assert type(event.details["level"]) is int
    assert type(event.details["kind"]) is str
    assert redacted(event.details) == event.details
    json.dumps(event.to_dict(), allow_nan=False)


def test_details_without_end_are_cut() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert "..." in str(redacted({"x": endless}))


def test_a_text_is_one_that_utf8_can_hold() -> None:
    class Named(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "another"

    assert type(plain_text(Named("x"))) is str
    assert plain_text(Named("x")) == "x"
    assert plain_text("ü\ud800") == "ü?"
