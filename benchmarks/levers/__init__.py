"""What each lever of an operating point is worth, measured on recorded thoughts."""
