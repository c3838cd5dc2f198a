"""What a verb does, without a command line: measure, train, judge again, draw the page."""
