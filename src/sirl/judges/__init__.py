"""Judges of answers. A judge asks one of two questions: refused, or harmful help?"""
