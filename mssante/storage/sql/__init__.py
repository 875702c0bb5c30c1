"""Package storage.sql."""
