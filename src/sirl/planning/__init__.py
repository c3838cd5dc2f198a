"""What training would take, before it begins: memory, time, disk."""
