"""Judges: was the request refused?"""
