"""Proxies of predictability against known sources."""

import string

import numpy as np
import pytest

from speedbench.diversity import compression_ratio, unigram_entropy_bits


def test_entropy_of_known_sources():
    assert unigram_entropy_bits([7] * 50) == 0.0
    assert unigram_entropy_bits(np.arange(1024)) == 10.0
    assert unigram_entropy_bits([1, 1, 1, 2]) == pytest.approx(0.811278, abs=1e-6)
    drawn = np.random.default_rng(0).choice(3, 200_000, p=[0.5, 0.25, 0.25])
    assert unigram_entropy_bits(drawn) == pytest.approx(1.5, abs=0.01)
    assert np.isnan(unigram_entropy_bits([]))


def test_random_bytes_do_not_compress_and_letters_compress_to_their_entropy():
    rng = np.random.default_rng(1)
    assert compression_ratio(rng.bytes(50_000)) == pytest.approx(1.0, abs=0.01)
    sixteen = rng.choice(list(string.ascii_lowercase[:16].encode()), 50_000)
    # Four bits of eight.
    assert compression_ratio(bytes(sixteen.tolist())) == pytest.approx(0.5, abs=0.08)
    assert compression_ratio(b"a" * 50_000) < 0.01
    assert np.isnan(compression_ratio(b""))


def test_they_order_sources_by_how_predictable_they_are():
    rng = np.random.default_rng(2)
    words = [bytes(rng.integers(97, 123, 6).tolist()) for _ in range(2000)]
    ids = [rng.integers(0, size, 5000) for size in (10, 200, 2000)]
    texts = [b" ".join(words[i] for i in drawn) for drawn in ids]
    assert np.all(np.diff([compression_ratio(text) for text in texts]) > 0)
    assert np.all(np.diff([unigram_entropy_bits(drawn) for drawn in ids]) > 0)
