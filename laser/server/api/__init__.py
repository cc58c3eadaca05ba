"""Requests and responses of the HTTP API: one module per API surface, and what the surfaces share."""
