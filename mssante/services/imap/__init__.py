"""Package services.imap."""
