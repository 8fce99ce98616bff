"""What the device says: deploy, measure there, and judge."""
