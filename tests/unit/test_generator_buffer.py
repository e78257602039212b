"""What waits for a reader is one piece, in order, and nothing is lost."""

from __future__ import annotations

import asyncio

from services.generator.engine import Quote, Step, TokenLogprob, WrittenToken
from services.generator.loop.buffer import MAX_JOINED, Buffer


def step(number: int, text: str | None = None) -> Step:
    quote = Quote(f"p{number}", "verbatim", 0, 8)
    token = WrittenToken(TokenLogprob(number, f"t{number}", -1.0), ())
    return Step(f"{number} " if text is None else text, (quote,), num_tokens=1, tokens=(token,))


def numbers(step: Step | None) -> list[int]:
    assert step is not None
    return [token.chosen.token_id for token in step.tokens]


async def test_a_reader_who_keeps_up_gets_every_step_as_it_is() -> None:
    buffer = Buffer()
    for number in range(3):
        buffer.put(step(number))
        assert await buffer.take() == step(number)


async def test_what_waits_is_joined_in_order() -> None:
    buffer = Buffer()
    for number in range(3):
        buffer.put(step(number))
    buffer.put(Step("end", num_tokens=1, finish="stop", stop="\n"))
    taken = await buffer.take()
    assert taken is not None
    assert (taken.text, taken.num_tokens, taken.finish, taken.stop) == ("0 1 2 end", 4, "stop", "\n")
    assert [quote.passage_id for quote in taken.quotes] == ["p0", "p1", "p2"]
    assert numbers(taken) == [0, 1, 2]


async def test_tokens_without_text_come_with_the_next_text_or_at_the_end() -> None:
    buffer = Buffer()
    buffer.put(step(0, text=""))
    reader = asyncio.create_task(buffer.take())
    await asyncio.sleep(0)
    assert not reader.done()
    buffer.put(step(1))
    assert numbers(await reader) == [0, 1]
    buffer.put(step(2, text=""))
    buffer.end()
    assert numbers(await buffer.take()) == [2]
    assert await buffer.take() is None


async def test_no_piece_is_too_large() -> None:
    buffer = Buffer()
    for number in range(2 * MAX_JOINED + 5):
        buffer.put(step(number, text="" if number % 2 else "a"))
    pieces = [await buffer.take() for _ in range(3)]
    buffer.end()
    assert await buffer.take() is None
    assert [len(numbers(piece)) for piece in pieces] == [MAX_JOINED, MAX_JOINED, 5]
    assert [number for piece in pieces for number in numbers(piece)] == list(range(2 * MAX_JOINED + 5))


async def test_an_end_wakes_who_waits() -> None:
    buffer = Buffer()
    reader = asyncio.create_task(buffer.take())
    await asyncio.sleep(0)
    buffer.put(Step(num_tokens=1))
    buffer.end()
    assert await reader is None
