"""What those who wait are told."""
