"""A run directory: whose it is, what is written there, and how a run goes on from it."""
