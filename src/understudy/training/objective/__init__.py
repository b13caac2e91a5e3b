"""What a step minimises: the terms of the loss, and what they are given."""
