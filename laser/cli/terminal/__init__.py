"""The terminal view of a server: the dashboard's status as text."""
