"""Watches answers while they stream: what is checked, when, and when an alarm is raised."""
