"""Secrets to plant, none of them anybody's, and texts that only look like one.

The keys are put together here from two halves: scanners of repositories would else find them too.
"""

from dataclasses import dataclass

_JWT = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9" + ".eyJhIjoicnciLCJpYXQiOjE3MDB9.c2lnbmF0dXJlLXg"
_PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpem\nNotReal1\n-----END RSA PRIVATE KEY-----"


@dataclass(frozen=True)
class Planted:
    """A text as an application might emit it, and the part of it that nobody may see."""

    kind: str
    text: str
    secret: str
    key: str = "note"
    """The name of the attribute that holds it."""


SECRETS = (
    Planted("password in a URL", "postgresql+psycopg://app:Xq7urlpass@db:5432/shop", "Xq7urlpass"),
    Planted("password with @ in a URL", "mysql://app:Xq7@at@pass@db/shop", "at@pass"),
    Planted("password in a Redis URL", "redis://:Xq7redispass@cache:6379/0", "Xq7redispass"),
    Planted("password with / in a URL", "mysql://app:Xq7/slash?pass@db/shop", "slash?pass"),
    Planted("bearer token", "sent Bearer Xq7bearertoken0123456789", "Xq7bearertoken0123456789"),
    Planted("basic credentials", "Authorization: Basic WHE3YmFzaWM6cGFzcw==", "WHE3YmFzaWM6cGFzcw"),
    Planted("JSON Web Token", f"connect with {_JWT} now", "eyJhIjoicnciLCJpYXQiOjE3MDB9"),
    Planted("token in a libSQL URL", f"libsql://db.example?authToken={_JWT}", "c2lnbmF0dXJlLXg"),
    Planted("AWS key id", "key AKIA" + "XQ7EXAMPLE0AWSID", "XQ7EXAMPLE0AWSID"),
    Planted("AWS secret", "aws_secret_access_key=Xq7awsSecret/abc+def", "Xq7awsSecret/abc"),
    Planted("GitHub token", "ghp" + "_Xq7githubtoken0123456789abcdefghijkl", "Xq7githubtoken"),
    Planted("GitHub fine token", "github" + "_pat_Xq7finegrained0123456789abc", "Xq7finegrained"),
    Planted("GitLab token", "glpat" + "-Xq7gitlabtoken012345", "Xq7gitlabtoken"),
    Planted("Stripe key", "sk" + "_live_Xq7stripekey0123456789", "Xq7stripekey"),
    Planted("Slack token", "xoxb" + "-Xq7slacktoken-0123456789", "Xq7slacktoken"),
    Planted("Google key", "AIza" + "Xq7googlekey0123456789abcdefghijklmn", "Xq7googlekey"),
    Planted("OpenAI key", "sk" + "-proj-Xq7openaikey0123456789", "Xq7openaikey"),
    Planted("Langfuse key", "sk" + "-lf-9f7e3a10-4c1b-4e0a-Xq7langfuse", "Xq7langfuse"),
    Planted("private key", f"loaded {_PEM}", "NotReal1"),
    Planted("password=", "dsn host=db password=Xq7dsnpass user=app", "Xq7dsnpass"),
    Planted("PGPASSWORD=", "PGPASSWORD=Xq7pgpass psql", "Xq7pgpass"),
    Planted("password in JSON", '{"user": "app", "password": "Xq7 json pass"}', "Xq7 json pass"),
    Planted("password in SQL", "CREATE USER app PASSWORD 'Xq7 sqlpass'", "Xq7 sqlpass"),
    Planted("IDENTIFIED BY", "ALTER USER app IDENTIFIED BY 'Xq7identified'", "Xq7identified"),
    Planted("literal compared", "WHERE password = 'Xq7literal'", "Xq7literal"),
    Planted("password: in a log line", "login failed, password: Xq7logpass", "Xq7logpass"),
)

SECRETS_BY_KEY = tuple(
    Planted(f"attribute {key}", f"Xq7bykey{number}end", f"Xq7bykey{number}end", key)
    for number, key in enumerate(
        (
            "db.password",
            "DB_PASSWD",
            "user.passphrase",
            "client_secret",
            "aws.credentials",
            "x-api-key",
            "http.request.header.authorization",
            "http.request.header.cookie",
            "auth.token",
            "pwd",
        )
    )
)
"""Texts that nothing gives away but the name of the attribute."""

INNOCENT: dict[str, str | int] = {
    "db.query.text": "SELECT id FROM users WHERE password = ? AND token = $1 AND secret = :key",
    "db.query.summary": "SELECT users",
    "db.query.parameter": "UPDATE users SET password = %(password)s WHERE id = %(id)s",
    "server.address": "https://db.example:5432/path",
    "gen_ai.token.type": "input",
    "gen_ai.usage.input_tokens": 512,
    "error.message": "Basic authentication failed for user app",
    "user.email": "someone@example.org",
    "code.function.name": "app.tokens.count",
    "url.full": "https://shop.example/items?page=2&tokens=5",
}
"""Attributes that must come through untouched."""
