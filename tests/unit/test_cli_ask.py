"""An answer is printed as it streams, with what it cites and where its time went; a failure is one line."""

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from rich.console import Console
from typer.testing import CliRunner

from chassis.errors import InvalidRequest, NotFound, Overloaded, TriviumError, rich_status
from cli.__main__ import app
from cli.answer import cited_sources
from cli.ask import ask
from cli.search import show
from cli.system import free_ports
from cli.waterfall import waterfall
from trivium.v1 import gateway_pb2, gateway_pb2_grpc, generator_pb2, passage_pb2, retriever_pb2

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"

PASSAGE = passage_pb2.Passage(
    passage_id="guide.md#1",
    document_id="guide.md",
    title="Guide",
    heading_path=["Guide", "Draining"],
    text="On SIGTERM a process drains. Then it exits.",
    uri="file:///guide.md",
    range=passage_pb2.CharacterRange(start=1_200, end=1_243),
)
OTHER = passage_pb2.Passage(
    passage_id="b.md#0", document_id="b.md", text="Something else.", page=3, range=passage_pb2.CharacterRange(end=15)
)
QUOTE = generator_pb2.Quote(
    passage_id="guide.md#1",
    text="On SIGTERM a process drains.",
    range=passage_pb2.CharacterRange(start=1_200, end=1_228),
)
REPORT = gateway_pb2.Report(
    trace_id=TRACE_ID,
    index_version=7,
    degraded=[retriever_pb2.DEGRADATION_RERANK_SKIPPED],
    stages=[
        passage_pb2.StageStats(stage="retriever", queue_ms=10, compute_ms=20, batch_size=2, tokens=11),
        passage_pb2.StageStats(stage="generator", queue_ms=0.5, compute_ms=40, batch_size=1, tokens=1_234),
    ],
    budgets=[
        gateway_pb2.StageBudget(stage="retriever", given_ms=2_000, spent_ms=40),
        gateway_pb2.StageBudget(stage="reranker", given_ms=100, spent_ms=100),
        gateway_pb2.StageBudget(stage="generator", given_ms=9_000, spent_ms=50),
    ],
    deadline_ms=30_000,
    elapsed_ms=200,
    gateway_ms=10,
)
SOURCES = [gateway_pb2.Source(number=1, passage=PASSAGE), gateway_pb2.Source(number=2, passage=OTHER)]

Event = gateway_pb2.AnswerStreamResponse


def events() -> Iterator[Event]:
    yield Event(sources=gateway_pb2.Sources(sources=SOURCES))
    yield Event(delta=generator_pb2.TextDelta(text="On SIGTERM "))
    yield Event(delta=generator_pb2.TextDelta(text="a process drains. [1]", quotes=[QUOTE]))
    yield Event(
        finished=gateway_pb2.AnswerFinished(
            reason=generator_pb2.FINISH_REASON_STOP,
            kind=generator_pb2.ANSWER_KIND_EXTRACTIVE,
            usage=generator_pb2.Usage(prompt_tokens=50, output_tokens=9),
            report=REPORT,
        )
    )


def abstention() -> Iterator[Event]:
    yield Event(sources=gateway_pb2.Sources(sources=SOURCES))
    reason = generator_pb2.FINISH_REASON_ABSTAINED
    yield Event(finished=gateway_pb2.AnswerFinished(reason=reason, report=REPORT))


class ScriptedGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Answers every question with the same events, or refuses it."""

    def __init__(self, script: Callable[[], Iterator[Event]], error: TriviumError | None = None) -> None:
        self._script, self._error = script, error
        self.asked: list[gateway_pb2.AnswerStreamRequest] = []

    def AnswerStream(self, request: gateway_pb2.AnswerStreamRequest, context: Any) -> Iterator[Event]:
        self.asked.append(request)
        if self._error:
            status = rich_status(self._error.code, str(self._error), self._error.details())
            context.set_trailing_metadata((("trace_id", TRACE_ID), ("grpc-status-details-bin", status)))
            context.abort(self._error.code, str(self._error))
        yield from self._script()

    def Answer(self, request: Any, context: Any) -> gateway_pb2.AnswerResponse:
        raise NotImplementedError

    def Explain(self, request: Any, context: Any) -> gateway_pb2.ExplainResponse:
        raise NotImplementedError

    def Search(self, request: Any, context: Any) -> gateway_pb2.SearchResponse:
        raise NotImplementedError


@contextmanager
def gateway(script: Callable[[], Iterator[Event]], error: TriviumError | None = None) -> Iterator[str]:
    with serving(ScriptedGateway(script, error)) as address:
        yield address


@contextmanager
def serving(scripted: ScriptedGateway) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    register: Any = gateway_pb2_grpc.add_GatewayServiceServicer_to_server
    register(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def printed(what: Callable[[Console], object]) -> str:
    output = io.StringIO()
    what(Console(file=output, width=120))
    return "".join(f"{line.rstrip()}\n" for line in output.getvalue().splitlines())


def test_an_answer_is_printed_with_its_numbered_citations() -> None:
    with gateway(events) as address:
        text = printed(lambda console: ask(address, "What?", gateway_pb2.SearchOptions(), 5, console))
    assert text.startswith("On SIGTERM a process drains. [1]\n")
    assert "[1] Guide › Draining\n" in text
    assert "    file:///guide.md · characters 1,200–1,228" in text
    assert "    On SIGTERM a process drains.\n" in text
    assert "degraded: rerank skipped" in text
    assert f"index version 7 · trace {TRACE_ID}" in text


def test_a_document_cannot_command_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x9b31m red"
    passage = passage_pb2.Passage(passage_id="a", document_id="a", title=hostile, text=hostile, uri=hostile)

    def script() -> Iterator[Event]:
        yield Event(sources=gateway_pb2.Sources(sources=[gateway_pb2.Source(number=1, passage=passage)]))
        yield Event(delta=generator_pb2.TextDelta(text=f"{hostile} [1]"))
        yield Event(finished=gateway_pb2.AnswerFinished(report=REPORT))

    with gateway(script) as address:
        text = printed(lambda console: ask(address, "What?", gateway_pb2.SearchOptions(), 5, console))
    assert text.count("]0;owned") == 4
    assert not {"\x1b", "\x07", "\x9b"} & set(text)


def test_a_source_that_the_text_does_not_cite_is_no_citation() -> None:
    with gateway(events) as address:
        text = printed(lambda console: ask(address, "What?", gateway_pb2.SearchOptions(), 5, console))
    assert "Something else." not in text


def test_an_abstention_says_so_and_shows_all_sources() -> None:
    with gateway(abstention) as address:
        text = printed(lambda console: ask(address, "What?", gateway_pb2.SearchOptions(), 5, console))
    assert "too little evidence" in text
    assert "[2] b.md\n" in text
    assert "page 3 · characters 0–15" in text


def test_citations_that_were_left_out_are_counted() -> None:
    def script() -> Iterator[Event]:
        yield Event(sources=gateway_pb2.Sources(sources=SOURCES))
        yield Event(delta=generator_pb2.TextDelta(text="It drains [1]."))
        yield Event(
            finished=gateway_pb2.AnswerFinished(
                report=REPORT,
                num_removed_citations=2,
                cited_passage_ids=["guide.md#1"],
                prompt_template="cite-1",
                stop="!",
            )
        )

    with gateway(script) as address:
        text = printed(lambda console: ask(address, "What?", gateway_pb2.SearchOptions(), 5, console))
        run = CliRunner().invoke(app, ["ask", "What?", "--gateway", address, "--json"])
    assert "citations of no source, left out of the text: 2\n" in text
    answer = json_format.Parse(run.stdout, gateway_pb2.AnswerResponse())
    assert (answer.prompt_template, list(answer.cited_passage_ids), answer.stop) == ("cite-1", ["guide.md#1"], "!")


def test_a_generated_text_cites_by_number() -> None:
    answer = gateway_pb2.AnswerResponse(text="It waits [2].", sources=SOURCES)
    assert [source.passage.document_id for source in cited_sources(answer)] == ["b.md"]


def test_the_waterfall_puts_each_stage_where_the_one_before_it_ended() -> None:
    lines = printed(lambda console: console.print(waterfall(REPORT, width=106))).splitlines()
    rows = {line.split()[0]: line for line in lines}
    bar_column = len("retriever  ")
    # 200 ms are 40 cells: 40 ms are 8, 100 ms are 20, 50 ms are 10.
    assert rows["retriever"][bar_column:].startswith("▒▒████── ")
    assert rows["reranker"][bar_column:].startswith(" " * 8 + "─" * 20 + " ")
    assert rows["generator"][bar_column:].startswith(" " * 28 + "▒████████── ")
    assert rows["retriever"].split()[-6:] == ["10.0", "20.0", "40.0", "2,000", "2", "11"]
    assert rows["reranker"].split()[-6:] == ["–", "–", "100.0", "100", "no", "reply"]
    assert rows["gateway"].split()[-1] == "10.0"
    assert rows["total"].split()[-2:] == ["200.0", "30,000"]


def test_the_waterfall_fits_a_terminal_of_eighty_columns() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(waterfall(REPORT, width=80))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert "…" not in "".join(lines)
    assert [line.split()[0] for line in lines] == [
        "stage", "retriever", "reranker", "generator", "gateway", "total", "milliseconds",
    ]  # fmt: skip


def test_a_search_shows_the_rank_and_score_of_every_leg() -> None:
    scores = passage_pb2.Scores(bm25_score=7.25, bm25_rank=1, rerank_logit=-2.5, rerank_rank=3)
    found = gateway_pb2.SearchResponse(
        sources=[gateway_pb2.Source(number=1, passage=PASSAGE, scores=scores)], report=REPORT
    )
    row = printed(lambda console: show(found, console)).splitlines()[1]
    assert row.startswith("1  Guide › Draining")
    assert row.split()[-7:] == ["–", "1.", "7.250", "–", "3.", "-2.500", "–"]


def test_options_say_how_the_answer_is_written() -> None:
    scripted = ScriptedGateway(events)
    options = (
        "--max-output-tokens 90 --min-output-tokens 3 --temperature 0.7 --top-k-tokens 40 --top-p 0.9 --min-p 0.05 "
        "--seed 18446744073709551615 --repetition-penalty 1.2 --no-repeat-ngram-size 3 --stop a --stop b"
    )
    with serving(scripted) as address:
        for given in ([], options.split(), ["--num-beams", "4"], ["--temperature", "0"]):
            run = CliRunner().invoke(app, ["ask", "What?", "--gateway", address, *given])
            assert run.exit_code == 0, run.stderr
    assert not scripted.asked[0].HasField("sampling")
    assert [one.sampling for one in scripted.asked[1:]] == [
        generator_pb2.Sampling(
            max_output_tokens=90,
            min_output_tokens=3,
            temperature=0.7,
            top_k=40,
            top_p=0.9,
            min_p=0.05,
            seed=2**64 - 1,
            repetition_penalty=1.2,
            no_repeat_ngram_size=3,
            stop=["a", "b"],
        ),
        generator_pb2.Sampling(num_beams=4),
        generator_pb2.Sampling(temperature=0),
    ]


def test_json_is_one_object_of_the_contract() -> None:
    with gateway(events) as address:
        run = CliRunner().invoke(app, ["ask", "What?", "--gateway", address, "--json"])
    assert run.exit_code == 0
    answer = json_format.Parse(run.stdout, gateway_pb2.AnswerResponse())
    assert answer.text == "On SIGTERM a process drains. [1]"
    assert answer.report == REPORT
    assert list(answer.sources) == SOURCES


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(
            InvalidRequest("question", "must not be empty"),
            f"INVALID_ARGUMENT: question: must not be empty · trace {TRACE_ID}",
            id="invalid",
        ),
        pytest.param(
            NotFound("collection", "absent"),
            f"NOT_FOUND: no such collection (absent) · trace {TRACE_ID}",
            id="not-found",
        ),
        pytest.param(
            Overloaded("the reranker is overloaded", 1.5),
            f"RESOURCE_EXHAUSTED: the reranker is overloaded · try again in 1.5 s · trace {TRACE_ID}",
            id="overloaded",
        ),
    ],
)
def test_a_refusal_is_one_line_and_exit_status_one(error: TriviumError, line: str) -> None:
    with gateway(events, error) as address:
        run = CliRunner().invoke(app, ["ask", "What?", "--gateway", address])
    assert (run.exit_code, run.stderr, run.stdout) == (1, f"{line}\n", "")


def test_a_refusal_as_json_names_the_fields() -> None:
    with gateway(events, InvalidRequest("question", "must not be empty")) as address:
        run = CliRunner().invoke(app, ["ask", "What?", "--gateway", address, "--json"])
    assert run.exit_code == 1
    error = json.loads(run.stdout)["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["field_violations"] == [{"field": "question", "description": "must not be empty"}]
    assert error["trace_id"] == TRACE_ID


def test_a_gateway_that_is_not_there_is_named() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    run = CliRunner().invoke(app, ["ask", "What?", "--gateway", address])
    assert run.exit_code == 1
    assert run.stderr == f"UNAVAILABLE: no gateway answers at {address}; `trivium up` starts one\n"
