"""What the dashboards show, as tables: tools/dashboards.py makes Grafana's JSON of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.models import units

OURS = 'namespace="$namespace"'
CHOSEN = f'{OURS}, job=~"$job"'
ANSWERS = f'{OURS}, method=~"trivium.v1.GatewayService/Answer.*"'
GATEWAY = f'{OURS}, method=~"trivium.v1.GatewayService/.+"'
FAULTS = 'code=~"UNAVAILABLE|DEADLINE_EXCEEDED|INTERNAL|UNKNOWN|DATA_LOSS"'


@dataclass(frozen=True)
class Panel:
    """One graph."""

    title: str
    description: str
    """What a reader should conclude from it."""
    unit: str
    queries: Sequence[tuple[str, str]]
    """Expression and legend."""


def rate(metric: str, labels: str, by: str) -> str:
    """Per second, summed by these labels."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def mean(metric: str, labels: str, by: str) -> str:
    """A histogram's mean."""
    return f"{rate(f'{metric}_sum', labels, by)} / {rate(f'{metric}_count', labels, by)}"


def quantiles(metric: str, labels: str, by: str = "", legend: str = "") -> list[tuple[str, str]]:
    """A histogram's median and 99th percentile."""
    buckets = rate(f"{metric}_bucket", labels, ", ".join(filter(None, ["le", by])))
    return [
        (f"histogram_quantile({q}, {buckets})", f"{legend} {name}".strip()) for q, name in ((0.5, "p50"), (0.99, "p99"))
    ]


def share(part: str, whole: str) -> str:
    """0 where there is a whole and no part."""
    return f"({part} or 0 * {whole}) / {whole}"


DURATION = "trivium_request_duration_seconds"
CALLS = f"{DURATION}_count"

ANSWERED = rate(CALLS, f'{ANSWERS}, code="OK"', "namespace")

ANSWERS_ROWS: dict[str, list[Panel]] = {
    "Callers": [
        Panel(
            "Calls by status",
            "What callers get. RESOURCE_EXHAUSTED: refused for want of capacity. INVALID_ARGUMENT: the caller's fault.",
            units.RequestsPerSecond,
            [(rate(CALLS, GATEWAY, "code"), "{{code}}")],
        ),
        Panel(
            "Time to the whole answer",
            "From arrival at the gateway to the last byte, of answers that were given.",
            units.Seconds,
            quantiles(DURATION, f'{ANSWERS}, code="OK"'),
        ),
        Panel(
            "Time to the first text",
            "From arrival at the generator to its first delta.",
            units.Seconds,
            quantiles("trivium_time_to_first_token_seconds", OURS),
        ),
        Panel(
            "How answers ended",
            "In the generator. cancelled: the caller left. deadline: the caller's time was over. length: cut at"
            " max_output_tokens.",
            units.Short,
            [(rate("trivium_answers_finished_total", OURS, "reason"), "{{reason}}")],
        ),
        Panel(
            "Faults and refusals",
            "Shares of all calls of the gateway. The alert pages at 1.44 % of faults and at 5 % of refusals.",
            units.PercentUnit,
            [
                (share(rate(CALLS, f"{GATEWAY}, {FAULTS}", "namespace"), rate(CALLS, GATEWAY, "namespace")), "faults"),
                (
                    share(
                        rate(CALLS, f'{GATEWAY}, code="RESOURCE_EXHAUSTED"', "namespace"),
                        rate(CALLS, GATEWAY, "namespace"),
                    ),
                    "refused",
                ),
            ],
        ),
        Panel(
            "Degraded answers",
            "Share of the answers that did without a step. The alert begins at 10 %.",
            units.PercentUnit,
            [
                (
                    rate("trivium_degraded_total", OURS, "step") + f" / scalar({ANSWERED})",
                    "{{step}}",
                )
            ],
        ),
    ],
    "Stages": [
        Panel(
            "Saturation per replica",
            "Device work offered per second, refused work included. Beyond 1 a stage refuses.",
            units.PercentUnit,
            [(f"avg by (job) (trivium_saturation{{{OURS}}})", "{{job}}")],
        ),
        Panel(
            "Replicas that are ready",
            "Replicas whose health is SERVING.",
            units.Short,
            [(f"sum by (job) (trivium_ready{{{OURS}}})", "{{job}}")],
        ),
        Panel(
            "Faults by stage",
            "Share of a stage's calls. What one stage gets wrong, answers lack.",
            units.PercentUnit,
            [(share(rate(CALLS, f"{OURS}, {FAULTS}", "job"), rate(CALLS, OURS, "job")), "{{job}}")],
        ),
        Panel(
            "Time in a stage",
            "99th percentile of the calls of each process.",
            units.Seconds,
            [(f"histogram_quantile(0.99, {rate(f'{DURATION}_bucket', OURS, 'le, job')})", "{{job}}")],
        ),
        Panel(
            "Index versions served",
            "Lines of one collection lie on each other, but for moments after a publication.",
            units.Short,
            [(f"trivium_index_version{{{OURS}}}", "{{collection}} {{pod}}")],
        ),
        Panel(
            "Passages not in a version yet",
            "Stored since the version being served, and searched beside it. Publications bring them to zero.",
            units.Short,
            [(f"trivium_live_passages{{{OURS}}}", "{{collection}} {{pod}}")],
        ),
    ],
}

STAGES_ROWS: dict[str, list[Panel]] = {
    "Load": [
        Panel(
            "Saturation",
            "Per replica, and the sum that autoscaling divides by its target.",
            units.PercentUnit,
            [
                (f"trivium_saturation{{{CHOSEN}}}", "{{pod}}"),
                (f"sum by (job) (trivium_saturation{{{CHOSEN}}})", "sum {{job}}"),
            ],
        ),
        Panel("Calls by status", "", units.RequestsPerSecond, [(rate(CALLS, CHOSEN, "job, code"), "{{job}} {{code}}")]),
        Panel("Time of a call", "", units.Seconds, quantiles(DURATION, CHOSEN, "job", "{{job}}")),
        Panel("Entries waiting", "", units.Short, [(f"trivium_queue_depth{{{CHOSEN}}}", "{{pod}}")]),
        Panel(
            "Wait in the queue",
            "Much waiting and little computing: more replicas help.",
            units.Seconds,
            quantiles("trivium_queue_wait_seconds", CHOSEN, "job", "{{job}}"),
        ),
        Panel(
            "Entries refused and dropped",
            "Refused on arrival (full, late, expired, draining), or dropped because nobody waited any more.",
            units.Short,
            [
                (rate("trivium_queue_refused_total", CHOSEN, "job, reason"), "{{job}} refused {{reason}}"),
                (rate("trivium_queue_dropped_total", CHOSEN, "job, reason"), "{{job}} dropped {{reason}}"),
            ],
        ),
    ],
    "Batches": [
        Panel(
            "Time of a batch",
            "Device time.",
            units.Seconds,
            quantiles("trivium_batch_compute_seconds", CHOSEN, "job", "{{job}}"),
        ),
        Panel(
            "Entries in a batch",
            "Mean. Near 1 the device is fast enough for questions one by one.",
            units.Short,
            [(mean("trivium_batch_size", CHOSEN, "job"), "{{job}}")],
        ),
        Panel(
            "Tokens in a batch",
            "Mean, padding excluded.",
            units.Short,
            [(mean("trivium_batch_tokens", CHOSEN, "job"), "{{job}}")],
        ),
        Panel(
            "Padding",
            "Mean share of a batch that was work for nothing.",
            units.PercentUnit,
            [(mean("trivium_batch_padding_ratio", CHOSEN, "job"), "{{job}}")],
        ),
        Panel(
            "Batches that raised",
            "Each was split until the entry at fault was alone.",
            units.Short,
            [(rate("trivium_batch_failed_total", CHOSEN, "pod"), "{{pod}}")],
        ),
        Panel(
            "Time per output token",
            "Of generators, after the first token.",
            units.Seconds,
            quantiles("trivium_time_per_output_token_seconds", CHOSEN),
        ),
        Panel(
            "Citations left out",
            "They named no passage that the model had read: many mean a model that invents sources.",
            units.Short,
            [(rate("trivium_citations_removed_total", CHOSEN, "pod"), "{{pod}}")],
        ),
        Panel(
            "Cache of the answers on their way",
            "Share of the tokens that may be reserved. Near 100 % answers wait for room.",
            units.PercentUnit,
            [
                (f"trivium_cache_tokens_{name}{{{CHOSEN}}} / (trivium_cache_tokens_limit{{{CHOSEN}}} > 0)", legend)
                for name, legend in (("reserved", "reserved {{pod}}"), ("used", "used {{pod}}"))
            ],
        ),
        Panel(
            "Answers put back",
            "Memory ran out; they were read again later.",
            units.Short,
            [(rate("trivium_answers_put_back_total", CHOSEN, "pod"), "{{pod}}")],
        ),
    ],
    "Processes and devices": [
        Panel(
            "Event-loop lag",
            "Above a few milliseconds something blocks the process.",
            units.Seconds,
            [(f"trivium_event_loop_lag_seconds{{{CHOSEN}}}", "{{pod}}")],
        ),
        Panel(
            "Devices",
            "Which device each replica computes on.",
            units.Short,
            [(f"trivium_device_info{{{CHOSEN}}}", "{{pod}} {{device}} {{name}} {{uuid}}")],
        ),
        Panel(
            "GPU memory taken",
            "By anybody on the card.",
            units.PercentUnit,
            [
                (
                    f"trivium_device_memory_used_bytes{{{CHOSEN}}} / trivium_device_memory_total_bytes{{{CHOSEN}}}",
                    "{{pod}} {{uuid}}",
                )
            ],
        ),
        Panel(
            "GPU utilisation",
            "Share of time in which a kernel ran. A MIG slice has none.",
            units.PercentUnit,
            [(f"trivium_device_utilisation_ratio{{{CHOSEN}}}", "{{pod}} {{uuid}}")],
        ),
    ],
}
