"""Hashes for random numbers are those of the literature, for ever and on any machine."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.data.hashing import hashed
from tests.data.random_numbers import random_number, splitmix64

NUMBERS = st.lists(st.integers(0, 2**62), min_size=1, max_size=9)
STREAMS = st.lists(st.integers(0, 2**63 - 1), max_size=4)


def test_splitmix64_gives_the_published_numbers():
    assert splitmix64(1234567) == 6457827717110365317
    assert splitmix64(1234567 + 0x9E3779B97F4A7C15) == 3203168211198807973


@given(NUMBERS, STREAMS)
def test_a_hash_is_splitmix64_within_a_stream(numbers, stream):
    found = hashed(np.array(numbers), *stream)
    assert found.dtype == np.uint64
    assert found.tolist() == [random_number(number, *stream) for number in numbers]


def test_each_number_of_a_stream_is_another_one():
    assert len(np.unique(hashed(np.arange(100_000), 1, 2))) == 100_000


def test_hashes_are_uniform_and_streams_are_strangers():
    one, other = (hashed(np.arange(50_000), stream) / 2.0**64 for stream in (0, 1))
    assert abs(np.histogram(one, 50, (0, 1))[0] - 1000).max() < 5 * np.sqrt(1000)
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(50_000)
