"""The verbs without the command line: evaluate, train, judge again, report."""
