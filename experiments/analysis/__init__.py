"""What a profile, a plant and an objective imply for serving, computed offline."""
