"""Package observability."""
