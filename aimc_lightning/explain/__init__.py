"""A tile in words and pictures."""
