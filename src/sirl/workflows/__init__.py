"""The work of each verb without the command line: evaluate, train, judge again, report."""
