"""One trace drawn as a tree, from the spans that the processes exported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rich.text import Text
from rich.tree import Tree

from chassis import attributes
from cli.otlp import Span

SHOWN = {
    attributes.QUEUE_MS: "queue {:,.1f} ms",
    attributes.COMPUTE_MS: "compute {:,.1f} ms",
    attributes.BATCH_SIZE: "batch of {}",
    attributes.BATCH_TOKENS: "{:,} tokens",
    attributes.BATCH_PADDING_RATIO: "padding {:.0%}",
    attributes.INDEX_VERSION: "index version {}",
}
"""Attributes worth reading in a tree, and how."""


def trace_tree(trace_id: str, spans: Sequence[Span]) -> Tree:
    """The spans of `trace_id` below each other; spans of other traces that link to one stand below it.

    `spans` may hold any traces. A span whose parent is missing stands at the top, so nothing is hidden.
    """
    members = [span for span in spans if span.trace_id == trace_id]
    known = {span.span_id for span in members}
    children, linked = defaultdict(list), defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_ns):
        if span.trace_id == trace_id:
            children[span.parent_span_id if span.parent_span_id in known else ""].append(span)
        else:
            for link in span.links:
                if link.trace_id == trace_id:
                    linked[link.span_id].append(span)
    tree = Tree(Text(f"trace {trace_id}", style="bold"), guide_style="bright_black")

    def grow(branch: Tree, parent_span_id: str) -> None:
        for span in children[parent_span_id]:
            grow(branch.add(_label(span)), span.span_id)
        for span in linked[parent_span_id]:
            branch.add(Text.assemble(("⇢ ", "magenta"), _label(span)))

    grow(tree, "")
    return tree


def _label(span: Span) -> Text:
    name = span.name.removeprefix(f"{span.service} ").removeprefix("trivium.v1.")
    label = Text.assemble((span.service, "cyan"), " ", (name, "bold"))
    if span.kind in ("CLIENT", "SERVER"):
        label.append(f" {span.kind.lower()}", "dim")
    label.append(f"  {span.duration_ms:,.1f} ms", "green")
    if span.status == "ERROR":
        label.append(f"  error {span.status_text}".rstrip(), "bold red")
    code = span.attributes.get("rpc.response.status_code")
    if code is not None:
        label.append(f"  {code}", "bold red" if span.status == "ERROR" else "dim")
    details = [form.format(span.attributes[name]) for name, form in SHOWN.items() if name in span.attributes]
    label.append("".join(f" · {detail}" for detail in details), "yellow")
    for event in span.events:
        label.append(f" ! {event.name} {event.attributes.get(attributes.STEP, '')}".rstrip(), "red")
    return label
