"""Models in files: read by their headers, told apart by keys and shapes, built empty, filled without a second copy."""
