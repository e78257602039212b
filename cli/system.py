"""The whole of Trivium on one machine: which processes, on which ports, with which settings."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.processes import START_TIMEOUT_S, OnLine, Process, Processes

TREE = Path(__file__).resolve().parent.parent
"""The folder that holds the packages: processes run from it."""

MODULE_BY_PROCESS = {
    "gateway": "gateway",
    "retriever": "services.retriever",
    "indexer": "services.retriever.indexer",
    "reranker": "services.reranker",
    "generator": "services.generator",
}
STAGES = ("retriever", "reranker", "generator")
METRICS_OFFSET = 100
HEALTH_OFFSET = 200
REPLICA_OFFSET = 10
FREE_PORTS = range(15_000, 32_000)
"""Where free ports are looked for: below the range from which outgoing connections take theirs."""


@dataclass(frozen=True)
class Addresses:
    """Where one replica listens."""

    grpc: str
    metrics: str
    health: str


@dataclass(frozen=True)
class System:
    """What to start, as text for the processes' environments."""

    collections_path: Path
    """Where the indexer writes and the retrievers read."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    """How many of each process. Default: one of each; 0 leaves it out."""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Environment variables by process (`reranker`) or by replica (`reranker-2`). They win over the rest."""
    port_base: int | None = None
    """The gateway's port; the others follow, metrics 100 above, health 200 above, further replicas 10 above. None: free
    ones."""
    device: str = ""
    """Where the models run. Empty: each process chooses."""
    otlp_endpoint: str = ""
    """Where spans go. Empty: nowhere."""
    reflection: bool = False
    """Serve gRPC reflection, for grpcurl and ghz."""
    logs_path: Path | None = None
    """A folder for one `<process>.log` each. None: logs are kept in memory only."""
    start_timeout_s: float = START_TIMEOUT_S
    stop_timeout_s: float = 30

    def processes(self, on_line: OnLine | None = None) -> Processes:
        """The processes, not yet started; the gateway drains first. `on_line` gets each log line with its
        process's name, on a thread of that process's own."""
        addresses = self._addresses()
        if self.logs_path:
            self.logs_path.mkdir(parents=True, exist_ok=True)

        def build(replica: str) -> Process:
            name = process_name(replica)
            return Process(
                replica,
                [sys.executable, "-m", MODULE_BY_PROCESS[name]],
                self._environment(replica, addresses),
                address=addresses[replica].grpc,
                metrics_address=addresses[replica].metrics,
                health_address=addresses[replica].health,
                working_path=TREE,
                log_path=self.logs_path / f"{replica}.log" if self.logs_path else None,
                on_line=on_line,
            )

        gateways = [build(replica) for replica in addresses if process_name(replica) == "gateway"]
        others = [build(replica) for replica in addresses if process_name(replica) != "gateway"]
        return Processes(gateways, others, start_timeout_s=self.start_timeout_s, stop_timeout_s=self.stop_timeout_s)

    def _addresses(self) -> dict[str, Addresses]:
        """By replica."""
        replicas = {name: self._replicas_of(name) for name in MODULE_BY_PROCESS}
        free = iter(free_ports(3 * sum(map(len, replicas.values())))) if self.port_base is None else None
        addresses = {}
        for index, names in enumerate(replicas.values()):
            for number, replica in enumerate(names):
                if free:
                    ports = [next(free), next(free), next(free)]
                else:
                    port = (self.port_base or 0) + index + REPLICA_OFFSET * number
                    ports = [port, port + METRICS_OFFSET, port + HEALTH_OFFSET]
                addresses[replica] = Addresses(*(f"127.0.0.1:{port}" for port in ports))
        return addresses

    def _replicas_of(self, name: str) -> list[str]:
        count = self.replicas.get(name, 1)
        return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]

    def _environment(self, replica: str, addresses: Mapping[str, Addresses]) -> dict[str, str]:
        name = process_name(replica)
        prefix = name.upper()
        settings = {
            f"{prefix}_LISTEN_ADDRESS": addresses[replica].grpc,
            f"{prefix}_METRICS_ADDRESS": addresses[replica].metrics,
            f"{prefix}_HEALTH_ADDRESS": addresses[replica].health,
            f"{prefix}_OTLP_ENDPOINT": self.otlp_endpoint,
            f"{prefix}_REFLECTION": str(self.reflection).lower(),
        }
        if name == "gateway":
            settings |= _stage_addresses(addresses)
        if name in ("retriever", "indexer"):
            settings[f"{prefix}_COLLECTIONS_PATH"] = str(self.collections_path.absolute())
        if name != "gateway" and self.device:
            settings[f"{prefix}_DEVICE"] = self.device
        return clean_environment() | settings | {**self.settings.get(name, {}), **self.settings.get(replica, {})}


def process_name(replica: str) -> str:
    """`reranker` of `reranker-2`."""
    return replica.partition("-")[0]


def is_setting(variable: str) -> bool:
    """True when the variable belongs to one of the processes."""
    return variable.partition("_")[0] in {name.upper() for name in MODULE_BY_PROCESS}


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of Trivium's processes; imports find the tree."""
    inherited = {name: value for name, value in os.environ.items() if not is_setting(name)}
    paths = [str(TREE), str(TREE / "protos"), *filter(None, [inherited.get("PYTHONPATH")])]
    return {"HF_HUB_OFFLINE": "1"} | inherited | {"PYTHONPATH": os.pathsep.join(paths)}


def free_ports(count: int) -> list[int]:
    """That many different TCP ports of 127.0.0.1 on which nobody listens now."""
    ports = []
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0 and _can_bind(port):
                ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"fewer than {count} free ports from {FREE_PORTS.start} to {FREE_PORTS.stop - 1}")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _stage_addresses(addresses: Mapping[str, Addresses]) -> dict[str, str]:
    """The gateway's three targets; several replicas become one list for its load balancing."""
    targets = {}
    for stage in STAGES:
        replicas = [one.grpc for replica, one in addresses.items() if process_name(replica) == stage]
        if replicas:
            target = replicas[0] if len(replicas) == 1 else f"ipv4:{','.join(replicas)}"
            targets[f"GATEWAY_{stage.upper()}_ADDRESS"] = target
    return targets
