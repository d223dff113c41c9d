"""Health: how the database is, asked by us, and what is done when it was away."""
