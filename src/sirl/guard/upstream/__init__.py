"""Guards a model that is only an API: what is asked of it, and its answers as a source."""
