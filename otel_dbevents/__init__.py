"""What the database did, told truthfully: SQLAlchemy as OpenTelemetry spans, events and metrics."""
