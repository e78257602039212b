"""`trivium demo`: Trivium answers questions about Trivium, from start to stop, and checks what it cites."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from cli.answer import cited_sources
from cli.ask import ask
from cli.ingest import show
from cli.logs import LogView
from cli.otlp import SpanReceiver
from cli.reading.near_duplicates import NearDuplicates
from cli.reading.read import ReadOptions, read_all
from cli.system import MODULE_BY_PROCESS, STAGES, TREE, System
from cli.trace_tree import trace_tree
from cli.upload import Upload, upload
from trivium.v1 import gateway_pb2

COLLECTION = "default"
ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Question:
    """What is asked, and the document that the answer must cite."""

    text: str
    document_id: str


DOCUMENTS = (TREE / "README.md", TREE / "docs")
QUESTIONS = (
    Question("What happens when the reranker is down?", "docs/operations.md"),
    Question("Why does the batcher not wait on a timer?", "docs/decisions/0001-own-queue-and-batcher.md"),
    Question("Which metric does autoscaling read?", "docs/operations.md"),
)


def demo(documents: Sequence[Path], questions: Sequence[Question], console: Console) -> bool:
    """Start everything, ingest `documents`, ask `questions`, stop everything, draw the last question's trace.

    True when every answer cites its document and the trace has spans of every process on its way. Raises
    ProcessFailed and CallFailed.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    view = LogView(MODULE_BY_PROCESS)
    with tempfile.TemporaryDirectory(prefix="trivium-demo-") as folder, SpanReceiver() as receiver:
        quiet = {name: {f"{name.upper()}_LOG_LEVEL": "WARNING"} for name in MODULE_BY_PROCESS}
        system = System(Path(folder), otlp_endpoint=receiver.endpoint, settings=quiet)
        with (
            console.status("starting five processes; the models take some seconds to load …") as status,
            system.processes(lambda name, line: console.print(view.line(name, line))) as processes,
        ):
            status.update("ingesting the documentation …")
            index_version = _ingest(processes.address_of("indexer"), documents, console)
            status.stop()
            gateway = processes.address_of("gateway")
            answers = [_ask(gateway, question, index_version, console) for question in questions]
            status.update("draining the processes …")
            status.start()
        # A process that has stopped has exported every span it ever ended.
        trace_id = answers[-1].report.trace_id
        console.print(Rule("The last question, as the processes traced it"))
        console.print(trace_tree(trace_id, receiver.spans()))
        is_traced = {span.service for span in receiver.spans(trace_id)} == {"gateway", *STAGES}
    console.print(Rule("Does each answer cite its document?"))
    verdicts = [_judge(question, answer, console) for question, answer in zip(questions, answers, strict=True)]
    return all(verdicts) and is_traced


def _ingest(indexer: str, documents: Sequence[Path], console: Console) -> int:
    readings = read_all(documents, ReadOptions())
    summary = upload(Upload(indexer, COLLECTION), readings, NearDuplicates(), lambda summary: None)
    show(summary, console)
    return summary.index_version


def _ask(gateway: str, question: Question, index_version: int, console: Console) -> gateway_pb2.AnswerResponse:
    console.print()
    console.print(Rule(question.text))
    search = gateway_pb2.SearchOptions(collection=COLLECTION, min_index_version=index_version)
    return ask(gateway, question.text, search, ANSWER_TIMEOUT_S, console)


def _judge(question: Question, answer: gateway_pb2.AnswerResponse, console: Console) -> bool:
    cited = [source.passage.document_id for source in cited_sources(answer)]
    is_right = question.document_id in cited
    mark = ("✓", "green") if is_right else ("✗", "bold red")
    wanted = f"cites {question.document_id}" if is_right else f"must cite {question.document_id}, cites {cited}"
    console.print(Text.assemble(mark, f" {question.text} ", (wanted, "dim" if is_right else "red")))
    return is_right
