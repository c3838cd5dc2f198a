"""Names of detectors in calibrations and tables."""

__all__ = ["ACTING", "CONTROL", "CUTS", "STREAM"]

STREAM = "probe"
"""The probe behind the answer so far."""
CUTS = "cuts"
"""The probe at cuts of the prompt."""
ACTING = "both_probes"
"""The guard's alarm: the higher of both before the first token, and then the first alone."""
CONTROL = "random_labels"
"""Prefix of the names of controls."""
