"""What `sirl guard` does, without a command line."""
