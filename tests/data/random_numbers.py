"""The random numbers of `hashing.py`, in Python's own integers: an oracle."""


def splitmix64(state):
    """Vigna's splitmix64.c: the output that follows a state, in Python's own integers."""
    mixed = (state + 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return mixed ^ (mixed >> 31)


def random_number(number, *stream):
    """The hash of a number within a stream."""
    state = 0
    for part in stream:
        state = splitmix64((state + part) % 2**64)
    return splitmix64((state + splitmix64(number)) % 2**64)
