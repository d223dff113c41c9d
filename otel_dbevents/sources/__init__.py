"""Sources: what SQLAlchemy does becomes events."""
