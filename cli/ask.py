"""`trivium ask`: the answer as it is written, then what it rests on and where the time went."""

from __future__ import annotations

import json

from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from cli.answer import cited_sources, place, position, printable, quotes_from, stream_answer
from cli.waterfall import waterfall
from trivium.v1 import gateway_pb2, generator_pb2, retriever_pb2

SNIPPET_CHARACTERS = 240
INDENT = (0, 0, 0, 4)

NO_TEXT = {
    generator_pb2.FINISH_REASON_ABSTAINED: "The collection holds too little evidence for an answer.",
    generator_pb2.FINISH_REASON_SOURCES_ONLY: "The generator gave no answer; these are the sources alone.",
}


def ask(
    address: str,
    question: str,
    search: gateway_pb2.SearchOptions,
    timeout_s: float,
    console: Console,
    sampling: generator_pb2.Sampling | None = None,
) -> gateway_pb2.AnswerResponse:
    """Print an answer while it comes, then its citations, its waterfall and its trace id. Raises CallFailed."""
    request = gateway_pb2.AnswerStreamRequest(
        question=question, search=search, sampling=sampling, allow_sources_only=True
    )

    def write(text: str) -> None:
        console.print(Text(printable(text)), end="", soft_wrap=True)

    answer = stream_answer(address, request, timeout_s, write)
    console.print(Text(NO_TEXT.get(answer.reason, ""), style="yellow"), end="\n\n")
    show_citations(answer, console)
    console.print(waterfall(answer.report, console.width))
    show_footer(answer.report, console)
    return answer


def as_json(message: Message) -> str:
    """One line of JSON with the contract's own field names and every field that has a value or a default."""
    fields = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(fields, ensure_ascii=False)


def show_citations(answer: gateway_pb2.AnswerResponse, console: Console) -> None:
    """Print the sources that the text cites, with their words; all of them when there is no text. Then how many
    citations were left out of it."""
    for source in cited_sources(answer) if answer.text else answer.sources:
        passage, quotes = source.passage, quotes_from(answer, source)
        where = position(passage, [quote.range for quote in quotes] or [passage.range])
        words = " … ".join(quote.text for quote in quotes) or passage.text
        console.print(Text.assemble((f"[{source.number}] ", "bold cyan"), (place(passage), "bold")))
        console.print(
            Padding(
                Text(printable(f"{passage.uri or passage.document_id} · {where}"), style="dim"), (0, 4), expand=False
            )
        )
        console.print(Padding(Text(snippet(words), style="italic"), INDENT, expand=False))
    if num_removed := answer.num_removed_citations:
        console.print(Text(f"citations of no source, left out of the text: {num_removed:,}", style="yellow"))
    console.print()


def show_footer(report: gateway_pb2.Report, console: Console) -> None:
    """Print the steps that were left out, the index version and the trace id."""
    names = [retriever_pb2.Degradation.Name(step).removeprefix("DEGRADATION_") for step in report.degraded]
    if names:
        console.print(Text(f"degraded: {', '.join(names).replace('_', ' ').lower()}", style="yellow"))
    console.print(Text(f"index version {report.index_version} · trace {report.trace_id}", style="dim"))


def snippet(text: str, max_characters: int = SNIPPET_CHARACTERS) -> str:
    """The text on one line, cut at a word."""
    line = " ".join(printable(text).split())
    if len(line) <= max_characters:
        return line
    return line[:max_characters].rsplit(" ", 1)[0] + " …"
