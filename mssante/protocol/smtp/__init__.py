"""Package protocol.smtp."""
