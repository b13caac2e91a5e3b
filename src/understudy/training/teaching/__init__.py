"""How a run's teachers are asked: about what, by whom, how often, and where answers stay."""
