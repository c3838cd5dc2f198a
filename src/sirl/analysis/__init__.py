"""Statistics of recorded answers and how far to trust them; without models, files or torch."""
