"""What of a target must not be written down."""

from __future__ import annotations

from speedbench.load import Target


def test_short_words_are_hidden_only_where_their_name_is_that_of_a_key() -> None:
    target = Target(
        "http://h/?sig=ab%2Fcd&v=2",
        {"X-Stream": "true", "X-Tenant": "blue-sky-7", "Authorization": "Bearer k1y2"},
    )
    assert set(target.secrets) == {
        b"ab/cd", b"ab%2Fcd", b"blue-sky-7", b"Bearer k1y2", b"k1y2"
    }  # fmt: skip
