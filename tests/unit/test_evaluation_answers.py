"""Whether an answer is right."""

from __future__ import annotations

import pytest

from cli.evaluation.answers import exact_match, f1, is_in_evidence


@pytest.mark.parametrize(
    ("gold", "quote", "expected"),
    [
        ("frogs", "It eats frogs, and mice.", True),
        ("on  tuesdays", "It grinds ON\nTuesdays.", True),
        ("5", "It has 50 rooms.", False),
        ("frog", "It eats frogs.", False),
        ("C++", "It is written in C++.", True),
        ("ﬁve", "It has five rooms.", True),
        ("cafe\u0301", "The café is open.", True),
        ("Straße", "in der STRASSE", True),
        ("東京", "東京都に住む", True),
        ("-1", "It returns -1.", True),
        ("owls", "It eats frogs.", False),
    ],
)
def test_a_gold_answer_is_found_in_whole_words(gold: str, quote: str, expected: bool) -> None:
    assert is_in_evidence([gold], [quote]) is expected
    assert is_in_evidence(["nothing of it", gold], ["Something else.", quote]) is expected


def test_no_quotes_hold_no_answer() -> None:
    assert not is_in_evidence(["frogs"], [])


@pytest.mark.parametrize(
    ("written", "exact", "overlap"),
    [
        ("The green frog!", 1, 1),
        ("green frogs", 0, 0.5),
        ("a frog that is green", 0, 2 * (2 / 4) * 1 / (2 / 4 + 1)),
        ("", 0, 0),
    ],
)
def test_exact_match_and_f1_are_squads(written: str, exact: float, overlap: float) -> None:
    golds = ["no such thing here", "green frog"]
    assert exact_match(golds, written) == exact
    assert f1(golds, written) == pytest.approx(overlap)
