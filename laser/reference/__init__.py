"""Makes docs/reference/ from the code: `python -m laser.reference`. Descriptions stand at what they describe."""
