"""Choosing precision for a device, applying it and proving it."""
