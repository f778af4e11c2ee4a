"""Random numbers without a generator: each is a hash of (stream, number).

numpy does not promise that its next release permutes or draws alike (NEP 19), and a checkpoint
outlives a release. A hash is the same on every machine, in whatever order numbers are asked for.
"""

import numpy as np


def hashed(numbers: np.ndarray, *stream: int) -> np.ndarray:
    """A random number for each number of a stream: splitmix64 (Steele, Lea, Flood 2014, sec. 3).

    Args:
        numbers: integers from 0, of any shape; different ones give different results.
        stream: integers from 0 to 2^63 - 1 that name the stream, such as a seed and an epoch.

    Returns:
        uint64 of the shape of `numbers`, as if drawn uniformly from [0, 2^64).
    """
    state = np.zeros(1, dtype=np.uint64)
    for part in stream:
        state = _splitmix64(state + np.uint64(part))
    return _splitmix64(state + _splitmix64(numbers.astype(np.uint64)))


def _splitmix64(state: np.ndarray) -> np.ndarray:
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
