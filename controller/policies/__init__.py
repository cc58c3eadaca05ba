"""The policies by kind: each is a frozen dataclass of its settings that makes the policy."""
