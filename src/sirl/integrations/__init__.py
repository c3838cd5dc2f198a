"""Integrations with other systems; nothing else in sirl needs them."""
