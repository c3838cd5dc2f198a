"""Attacks for testing your own model: disguises, searches, recorded attacks, weight tampering."""
