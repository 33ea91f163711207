"""What to do when an upstream fails: retry, fail over, break, hedge. Values in, values out."""
