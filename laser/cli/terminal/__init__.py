"""What a server does, in a terminal: the dashboard's status as text."""
