"""What a server shows of itself while it serves: a record of its last minutes, as JSON, as events and as a page."""
