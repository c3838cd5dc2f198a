"""Disguises for one's own model: each renders a request, none knows the target."""
