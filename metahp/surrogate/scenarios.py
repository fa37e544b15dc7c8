"""How similar past tasks are to a new one, judged by where the surrogate expects its losses to go."""

import numpy as np


def similarities(predicted: np.ndarray, worlds: np.ndarray, *, temperature: float) -> np.ndarray:
    """Weights of the worlds, shape (t,), summing to one.

    Args:
        predicted: The surrogate's mean normalised loss of the candidates on the new task, shape (c,).
        worlds: Normalised losses of the candidates on past tasks, shape (t, c).
        temperature: Root-mean-square difference at which a world's weight has fallen by exp(-1/2); infinite for
            equal weights.

    A world is similar when its losses go where the surrogate expects the new task's losses to go: a distance learned
    from all tasks, instead of one between meta-features of unknown relevance.
    """
    squared = distances(predicted, worlds) ** 2
    weights = np.exp(-(squared - squared.min()) / (2 * temperature**2))
    return weights / weights.sum()


def distances(predicted: np.ndarray, worlds: np.ndarray) -> np.ndarray:
    """Root-mean-square difference between profiles, each centred on its own mean, shape (t,)."""
    centred = worlds - worlds.mean(axis=1, keepdims=True)
    return np.sqrt(((centred - (predicted - predicted.mean())) ** 2).mean(axis=1))
