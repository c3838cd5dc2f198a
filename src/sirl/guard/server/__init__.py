"""The guard as an OpenAI-compatible server; its routes know a source of answers, not a model."""
