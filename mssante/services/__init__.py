"""Package services."""
