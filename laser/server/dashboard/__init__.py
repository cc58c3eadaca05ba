"""The dashboard: a record of the server's last minutes, as JSON, as server-sent events and as a web page."""
