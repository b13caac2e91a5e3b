"""Distil a large embedding model into a small one that ranks images the way the large one does."""
