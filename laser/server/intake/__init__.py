"""What a request costs before it is a request: its body is read, its texts are measured and encoded, within bounds."""
