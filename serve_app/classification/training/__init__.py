"""Training, evaluation and calibration: out of the request path, and never imported by it."""
