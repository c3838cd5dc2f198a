"""Guards a model behind an API: the requests to it, and its answers as a source."""
