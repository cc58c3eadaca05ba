"""Structured answers: the fields by which requests of many APIs hold the answer to a form."""
