"""What a profile, a plant and an objective imply for serving, worked out beforehand."""
