"""Images in: manifest, decoded pixels, batches, augmented views."""
