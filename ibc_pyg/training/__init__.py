"""Training: the loop, selection of weights, recovery and resume."""
