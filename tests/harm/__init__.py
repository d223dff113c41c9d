"""What we must never do to the application, tried in earnest."""
