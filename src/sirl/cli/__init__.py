"""One file per verb: parse, build, call, show."""
