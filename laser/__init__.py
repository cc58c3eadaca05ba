"""The application: command line, HTTP server and client."""
