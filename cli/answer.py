"""One question asked over the wire, and what an answer cites."""

from __future__ import annotations

import re
from collections.abc import Callable

from chassis.messages import carry
from cli.connection import calling, open_channel
from trivium.v1 import gateway_pb2, gateway_pb2_grpc, generator_pb2, passage_pb2

_CONTROL = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CITATION = re.compile(r"\[(\d+)\]")


def stream_answer(
    address: str,
    request: gateway_pb2.AnswerStreamRequest,
    timeout_s: float,
    on_text: Callable[[str], None] = lambda text: None,
) -> gateway_pb2.AnswerResponse:
    """The whole answer, as `Answer` would give it; `on_text` gets its text as it is written.

    Raises CallFailed.
    """
    answer = gateway_pb2.AnswerResponse()
    with calling("gateway", address), open_channel(address) as channel:
        for event in gateway_pb2_grpc.GatewayServiceStub(channel).AnswerStream(request, timeout=timeout_s):
            if event.HasField("sources"):
                answer.sources.extend(event.sources.sources)
            elif event.HasField("delta"):
                answer.text += event.delta.text
                answer.quotes.extend(event.delta.quotes)
                answer.tokens.extend(event.delta.tokens)
                on_text(event.delta.text)
            elif event.HasField("finished"):
                carry(event.finished, answer)
    return answer


def cited_sources(answer: gateway_pb2.AnswerResponse) -> list[gateway_pb2.Source]:
    """The sources that the text cites by number or quotes; best first."""
    cited = {*answer.cited_passage_ids, *(quote.passage_id for quote in answer.quotes)}
    numbers = {int(number) for number in _CITATION.findall(answer.text)}
    return [source for source in answer.sources if source.number in numbers or source.passage.passage_id in cited]


def quotes_from(answer: gateway_pb2.AnswerResponse, source: gateway_pb2.Source) -> list[generator_pb2.Quote]:
    """What the text takes verbatim from one source."""
    return [quote for quote in answer.quotes if quote.passage_id == source.passage.passage_id]


def printable(text: str) -> str:
    """The text without control characters, by which a document could command the reader's terminal."""
    return text.translate(_CONTROL)


def place(passage: passage_pb2.Passage) -> str:
    """Where a passage stands, for a reader: title, then the headings below it."""
    headings = list(passage.heading_path)
    if headings and headings[0] == passage.title:
        del headings[0]
    return printable(" › ".join([passage.title or passage.document_id, *headings]))


def position(passage: passage_pb2.Passage, ranges: list[passage_pb2.CharacterRange]) -> str:
    """The page, where there is one, and the character ranges."""
    page = [f"page {passage.page}"] if passage.HasField("page") else []
    spans = ", ".join(f"{piece.start:,}–{piece.end:,}" for piece in ranges)
    return " · ".join([*page, f"characters {spans}"])
