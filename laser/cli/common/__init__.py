"""What several commands share: options, messages, and what they need beyond the plain install."""
