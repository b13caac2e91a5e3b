"""Training: one task, one loop, and run directories that go on where they stopped."""
