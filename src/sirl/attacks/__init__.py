"""Attacks for testing one's own model: disguises, searches, recorded attacks, weight tampering."""
