"""What recorded answers say, and how far it can be trusted: no model, no file, no torch."""
