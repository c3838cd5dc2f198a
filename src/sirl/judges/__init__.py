"""Judges of answers: refused, or harmful help?"""
