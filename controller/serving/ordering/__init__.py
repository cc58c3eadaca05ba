"""The order in which requests are served: one knob from first come to shortest first, and pauses."""
