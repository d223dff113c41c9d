"""What is secret without being a literal is hidden, in whatever quotes it comes, or in none."""

import pytest

from otel_dbevents.sources.text import analyze

DIALECTS = ("", "postgresql", "mysql", "sqlite", "mssql", "oracle")
SECRET = "zq9secret"

PASSWORDS = [
    "CREATE USER bob PASSWORD {}",
    "CREATE USER bob WITH ENCRYPTED PASSWORD {} LOGIN",
    "ALTER USER bob PASSWORD {} VALID UNTIL '2030-01-01'",
    "ALTER ROLE bob WITH PASSWORD {}",
    "CREATE USER bob IDENTIFIED BY {}",
    "CREATE USER bob@localhost IDENTIFIED BY {} REQUIRE SSL",
    "ALTER USER bob IDENTIFIED BY {} REPLACE {}",
    "ALTER USER bob IDENTIFIED WITH plugin BY {}",
    "CREATE USER IF NOT EXISTS bob IDENTIFIED BY {}, eve IDENTIFIED BY {}",
    "GRANT ALL ON t TO bob IDENTIFIED BY {} WITH GRANT OPTION",
    "CREATE ROLE r IDENTIFIED BY {}",
    "SET ROLE r IDENTIFIED BY {}",
    "SET PASSWORD FOR bob = {}",
    "SET PASSWORD = {}",
    "SET app.token = {}",
    "SET LOCAL app.token TO {}",
    "SET TIME ZONE {}",
    "SET SESSION AUTHORIZATION {}",
    "ALTER SYSTEM SET a = {}",
    "ALTER SYSTEM SET ENCRYPTION KEY IDENTIFIED BY {}",
    "ALTER DATABASE d SET a TO {}",
    "ADMINISTER KEY MANAGEMENT SET KEYSTORE OPEN IDENTIFIED BY {} WITH BACKUP",
    "CREATE DATABASE LINK l CONNECT TO bob IDENTIFIED BY {} USING 'x'",
    "CREATE PUBLIC DATABASE LINK l CONNECT TO {} IDENTIFIED BY {}",
    "CONNECT bob PASSWORD {}",
    "CONNECT bob/{}@db",
    "CREATE LOGIN bob WITH PASSWORD = {} MUST_CHANGE",
    "CREATE APPLICATION ROLE {} WITH PASSWORD = {}",
    "ALTER CERTIFICATE c WITH PRIVATE KEY (DECRYPTION BY PASSWORD = {}, b BY PASSWORD = {})",
    "OPEN MASTER KEY DECRYPTION BY PASSWORD = {}",
    "BACKUP DATABASE d TO x WITH PASSWORD = {}",
    "DENY SELECT ON t TO {}",
    "REVOKE SELECT ON t FROM {}",
    "START REPLICA USER = {} PASSWORD = {}",
    "CHANGE MASTER TO MASTER_USER = {}, MASTER_PASSWORD = {}, MASTER_PORT = 1",
    "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (user {}, password {})",
    "ALTER SERVER s OPTIONS (SET password {}, DROP host)",
    "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (password = {})",
    "CREATE USER MAPPING FOR bob SERVER s OPTIONS (user {}, password {})",
    "ALTER USER MAPPING FOR bob SERVER s OPTIONS (SET password {})",
    "CREATE SUBSCRIPTION s CONNECTION {} PUBLICATION p",
    "ALTER SUBSCRIPTION s CONNECTION {}",
    "COPY t FROM 's3://b' CREDENTIALS {}",
    "COPY t FROM 's3://b' ACCESS_KEY_ID {} SECRET_ACCESS_KEY {}",
    "COPY INTO t FROM 's3://b' CREDENTIALS = (AWS_KEY_ID = {} AWS_SECRET_KEY = {})",
    "ATTACH 'f' AS a KEY {}",
    "PRAGMA key = {}",
    "PRAGMA rekey({})",
    "EXEC sp_addlogin bob, {}",
]  # fmt: skip


@pytest.mark.parametrize("sql", PASSWORDS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_password_is_left_in_whatever_quotes_it_comes(sql, dialect):
    forms = (SECRET, f"'{SECRET}'", f'"{SECRET}"', f"{SECRET}!x-1.{SECRET}", f"'a'{SECRET}",
             f"${SECRET}", f"`{SECRET}`")  # fmt: skip
    for form in forms:
        written = sql.replace("{}", form)
        facts = analyze(written, dialect=dialect)
        assert SECRET not in facts.text, written
        assert SECRET not in facts.summary, written
        assert analyze(facts.text, dialect=dialect).text == facts.text


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CONNECT bob PASSWORD x", "CONNECT ? PASSWORD ?"),
        ("CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host h, port 'p')",
         "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host ?, port ?)"),
        ("ALTER SERVER s OPTIONS (SET host h, DROP port)",
         "ALTER SERVER s OPTIONS (SET host ?, DROP port)"),
        ("CREATE SUBSCRIPTION s CONNECTION x PUBLICATION p",
         "CREATE SUBSCRIPTION s CONNECTION ? PUBLICATION p"),
        ("COPY t FROM 's3://b' CREDENTIALS = (AWS_KEY_ID = x AWS_SECRET_KEY = y) FORMAT csv",
         "COPY t FROM ? CREDENTIALS = (AWS_KEY_ID = ? AWS_SECRET_KEY = ?) FORMAT csv"),
        ("CHANGE MASTER TO MASTER_HOST = h, MASTER_PASSWORD = p",
         "CHANGE MASTER TO MASTER_HOST = ?, MASTER_PASSWORD = ?"),
        ("CREATE DATABASE LINK l CONNECT TO bob IDENTIFIED BY x USING 'y'",
         "CREATE DATABASE LINK l CONNECT TO ? IDENTIFIED BY ? USING ?"),
        ("CREATE LOGIN bob WITH PASSWORD = x MUST_CHANGE",
         "CREATE LOGIN ? WITH PASSWORD = ? MUST_CHANGE"),
        ("OPEN KEY k DECRYPTION BY PASSWORD = :p", "OPEN KEY k DECRYPTION BY PASSWORD = :p"),
        ("ALTER ROLE bob PASSWORD $1", "ALTER ROLE ? PASSWORD $1"),
        ("CREATE USER bob IDENTIFIED BY user", "CREATE USER ? IDENTIFIED BY ?"),
    ],
)  # fmt: skip
def test_what_is_around_a_secret_stays(sql, expected):
    assert analyze(sql).text == expected


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (id INT, password TEXT, token TEXT)",
        "CREATE TEMPORARY TABLE t (password TEXT)",
        "ALTER TABLE t ADD COLUMN password TEXT",
        "CREATE INDEX password ON t (password)",
        "CREATE VIEW v AS SELECT password FROM t CONNECT BY a = b",
        "COPY t (id, password) FROM STDIN",
        "SELECT password, connection, options FROM t WHERE password = token",
        "UPDATE t SET password = :p",
        "LOCK TABLE password",
        "GRANT SELECT (password) ON t TO ?",
        "CREATE OR REPLACE VIEW connection AS SELECT options FROM credentials",
    ],
)
def test_a_column_of_such_a_name_is_not_hidden(sql):
    assert analyze(sql).text == sql


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ('SELECT a FROM t WHERE a BETWEEN "x" AND "y"', "SELECT a FROM t WHERE a BETWEEN ? AND ?"),
        ('SELECT a FROM t WHERE a IS "x" OR b IS NOT "y"',
         "SELECT a FROM t WHERE a IS ? OR b IS NOT ?"),
        ('CREATE TABLE t ("a" TEXT DEFAULT "x")', 'CREATE TABLE t ("a" TEXT DEFAULT ?)'),
        ('SELECT CASE a WHEN 1 THEN "x" ELSE "y" END', "SELECT CASE a WHEN ? THEN ? ELSE ? END"),
        ('SELECT strftime("%Y", a), f("12"), f("a b")', 'SELECT strftime(?, a), f(?), f("a b")'),
        ('SELECT a AS "Total (EUR)" FROM "a.b"', 'SELECT a AS "Total (EUR)" FROM "a.b"'),
        ('SELECT "t"."a-b", "order" FROM "t"', 'SELECT "t"."a-b", "order" FROM "t"'),
    ],
)  # fmt: skip
def test_in_sqlite_double_quotes_hold_a_name_only_where_no_text_is_meant(sql, expected):
    assert analyze(sql, dialect="sqlite").text == expected
