"""What a device can do, and whether a model fits it."""
