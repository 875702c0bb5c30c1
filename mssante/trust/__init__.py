"""Package trust."""
