"""A learning-rate schedule."""


def triangle(epoch: float, epochs: int, peak: float = 0.3) -> float:
    """Rise linearly to 1 at `peak` of the training, then fall to 0."""
    done = epoch / epochs
    return min((done + 0.01) / peak, max(1 - done, 0.0) / (1 - peak), 1.0)
