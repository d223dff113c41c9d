"""Health: whether the database is there, how it answers, and that it is back."""
