"""What watches training: logs, trackers, checkpoints, requests to stop. Each is one file."""
