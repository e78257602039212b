"""`trivium up`: the five processes on this machine until Ctrl-C."""

from __future__ import annotations

import os
import signal
import time

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.logs import LogView
from cli.processes import Processes
from cli.system import MODULE_BY_PROCESS, System


def up(system: System, console: Console) -> bool:
    """Start `system`, show its logs and addresses, and stay until Ctrl-C or SIGTERM; then drain it.

    A process that ends is reported and the rest go on, degraded as they may be. True when they drained; False
    when all had ended, or a second Ctrl-C killed them. Raises ProcessFailed when one does not start.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    view = LogView(MODULE_BY_PROCESS)
    processes = system.processes(lambda name, line: console.print(view.line(name, line), soft_wrap=True))
    try:
        with console.status("starting; the models take some seconds to load …") as status, processes:
            status.stop()
            console.print(addresses_table(processes), "Ctrl-C drains and stops them.\n")
            try:
                return watch(processes, console)
            except KeyboardInterrupt:
                status.update("draining; Ctrl-C again kills …")
                status.start()
        return True
    except KeyboardInterrupt:
        console.print("killed", style="bold red")
        return False


def watch(processes: Processes, console: Console) -> bool:
    """Report every process that ends. Returns False when none is left."""
    running = processes.all
    while running:
        time.sleep(0.2)
        for process in running:
            if not process.is_running:
                text = f"{process.name} ended with status {process.wait()}; the others go on"
                console.print(text, style="bold red")
        running = [process for process in running if process.is_running]
    return False


def addresses_table(processes: Processes) -> Table:
    """Where each process listens."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("process", "gRPC", "metrics", "pid"):
        table.add_column(heading)
    for process in processes.all:
        metrics = f"http://{process.metrics_address}/metrics"
        table.add_row(Text(process.name, style="bold"), process.address, metrics, str(process.pid))
    return table


def inherited_settings() -> dict[str, dict[str, str]]:
    """The processes' own settings in this environment (`RERANKER_MODEL`), by process; addresses are `up`'s."""
    return {
        name: {
            variable: value
            for variable, value in os.environ.items()
            if variable.startswith(f"{name.upper()}_") and not variable.endswith("_ADDRESS")
        }
        for name in MODULE_BY_PROCESS
    }
