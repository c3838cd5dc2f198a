"""Statistics of recorded answers and their reliability; without models, files or torch."""
