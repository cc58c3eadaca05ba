"""The order of waiting requests, from first come to shortest first, and pauses: measured in virtual time."""
