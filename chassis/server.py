"""The one server that every process starts the same way: NOT_SERVING, load, one real inference, SERVING, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider

from chassis import device, telemetry
from chassis.config import Config, ConfigError, ModelConfig, ServerConfig, load
from chassis.health import NOT_SERVING, SERVING, Health, HealthPort, LoopWatch
from chassis.interceptors import ServerInterceptor
from chassis.metrics import Metrics
from chassis.reflection import serve_reflection
from chassis.runtime import Runtime
from chassis.tls import IdentityFiles, server_credentials

logger = logging.getLogger(__name__)

LAG_INTERVAL_S = 0.25
"""How often the event loop's lag is measured, seconds."""

SWITCH_INTERVAL_S = 0.0001
"""How long a Python thread may keep the others waiting. A model's thread takes the interpreter's lock some hundred
times a batch: at Python's own 5 ms, an event loop that is busy refusing calls would stop it."""

REFUSED = 2
"""Exit status of a process that refuses to start."""


class Service(Protocol):
    """What a process brings: one gRPC service and its life."""

    full_name: str
    """`trivium.v1.RerankerService`."""

    def register(self, server: grpc.aio.Server) -> None:
        """Add the handlers."""

    async def start(self) -> None:
        """Load what is needed and run one real inference. SERVING follows."""

    async def stop(self) -> None:
        """The server has drained: end threads, close files. Also called when `start` failed."""


def run(name: str, config_class: type[Config], build: Callable[[Config, Runtime], Service]) -> NoReturn:
    """Be the process `name` until SIGTERM or SIGINT, and exit. `build` may import torch; nothing before it does."""
    try:
        config = load(config_class, name.upper())
        telemetry.configure_logging(name, config.log_level)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        if isinstance(config, ModelConfig):
            _share_the_cpu()
        asyncio.run(_Process(name, config).live(lambda runtime: build(config, runtime)))
    except ConfigError as error:
        telemetry.configure_logging(name)
        logger.error("refused to start", extra={"reason": str(error)})
        logging.shutdown()
        sys.exit(REFUSED)
    logging.shutdown()
    # Model libraries leave threads behind that a normal interpreter exit may wait for.
    os._exit(0)


def _share_the_cpu() -> None:
    """Settings that OpenMP reads when torch or FAISS loads it.

    Idle threads sleep: by default they spin, and processes that share the cores then slow each other down
    tenfold and more.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(device.num_threads()))


class _Process:
    def __init__(self, name: str, config: ServerConfig) -> None:
        self._name = name
        self._config = config
        self._metrics = Metrics()
        self._interceptor = ServerInterceptor(
            self._metrics, config.default_deadline_s, config.max_deadline_s, config.max_concurrent_calls
        )
        self._health = Health()
        self._loop_watch = LoopWatch()
        self._health_port = HealthPort(self._loop_watch)
        self._told_to_stop = asyncio.Event()

    async def live(self, build: Callable[[Runtime], Service]) -> None:
        # First of all, so that probes are answered while models are imported and loaded.
        health_port = self._health_port.start(self._config.health_address)
        try:
            await self._live(build, health_port)
        finally:
            self._health_port.stop()

    async def _live(self, build: Callable[[Runtime], Service], health_port: int) -> None:
        chosen = None
        if isinstance(self._config, ModelConfig):
            chosen = device.resolve(self._config.device, self._config.device_exclusive)
            logger.info("device", extra={"device": chosen.torch_name, "uuid": chosen.uuid, "device_name": chosen.name})
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        server = self._server()
        port = _bind(server, self._config)
        replica = f"{socket.gethostname()}:{port}"
        traces = telemetry.configure_tracing(self._name, replica, self._config)
        runtime = Runtime(self._name, replica, self._config, self._metrics, chosen)
        service = build(runtime)
        await self._set_health(service, NOT_SERVING)
        service.register(server)
        self._register_tools(server, service)
        metrics_port = _serve_metrics(self._metrics, self._config.metrics_address)
        await server.start()
        ports = {"port": port, "metrics_port": metrics_port, "health_port": health_port}
        logger.info("listening", extra={**ports, "pid": os.getpid()})
        async with _lag_measured(self._metrics, self._loop_watch):
            try:
                await self._serve(server, service)
            finally:
                await service.stop()
                runtime.close()
                await asyncio.to_thread(_flush, traces)
        logger.info("stopped")

    async def _serve(self, server: grpc.aio.Server, service: Service) -> None:
        began = time.perf_counter()
        starting = asyncio.create_task(service.start())
        stopping = asyncio.create_task(self._told_to_stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            await server.stop(0)
            return
        try:
            starting.result()
            self._interceptor.ready = True
            self._loop_watch.begin()
            await self._set_health(service, SERVING)
            logger.info("serving", extra={"seconds": round(time.perf_counter() - began, 3)})
            await stopping
        finally:
            stopping.cancel()
            await self._drain(server, service)

    async def _drain(self, server: grpc.aio.Server, service: Service) -> None:
        was_ready = self._interceptor.ready
        self._loop_watch.end()
        await self._set_health(service, NOT_SERVING)
        if was_ready:
            logger.info("draining")
            await asyncio.sleep(self._config.drain_delay_s)
        self._health.end_watches()
        await server.stop(self._config.drain_grace_s if was_ready else 0)

    def _stop(self) -> None:
        if self._told_to_stop.is_set():
            logger.warning("told to stop twice: quitting")
            os._exit(1)
        self._told_to_stop.set()

    def _server(self) -> grpc.aio.Server:
        return grpc.aio.server(
            interceptors=[self._interceptor],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._config.max_message_bytes),
                ("grpc.max_send_message_length", self._config.max_message_bytes),
                ("grpc.max_connection_age_ms", int(self._config.max_connection_age_s * 1e3)),
                ("grpc.max_connection_age_grace_ms", int(self._config.max_deadline_s * 1e3) + 1_000),
                # Clients ping idle connections (gateway/channel): as often as they do is not abuse.
                ("grpc.http2.min_ping_interval_without_data_ms", 500),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )

    def _register_tools(self, server: grpc.aio.Server, service: Service) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._config.reflection:
            serve_reflection([service.full_name], server)
        methods = descriptor_pool.Default().FindServiceByName(service.full_name).methods
        self._metrics.expect([f"{service.full_name}/{method.name}" for method in methods])

    async def _set_health(self, service: Service, status: Any) -> None:
        for name in ("", service.full_name):
            await self._health.set(name, status)
            self._health_port.set(name, status)
        self._metrics.ready.set(status == SERVING)


def _bind(server: grpc.aio.Server, config: ServerConfig) -> int:
    address, files = config.listen_address, IdentityFiles.of(config)
    try:
        if files is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, server_credentials(files))
    except RuntimeError as error:
        raise ConfigError(f"listen_address {address}: cannot be bound ({error})") from None


def _serve_metrics(metrics: Metrics, address: str) -> int:
    try:
        return metrics.serve(address)
    except OSError as error:
        raise ConfigError(f"metrics_address {address}: cannot be bound ({error.strerror})") from None


def _flush(traces: TracerProvider) -> None:
    traces.force_flush(5_000)
    traces.shutdown()


@contextlib.asynccontextmanager
async def _lag_measured(metrics: Metrics, watch: LoopWatch) -> AsyncIterator[None]:
    async def measure() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(LAG_INTERVAL_S)
            metrics.event_loop_lag.set(max(0.0, time.perf_counter() - began - LAG_INTERVAL_S))
            watch.beat()

    task = asyncio.create_task(measure())
    try:
        yield
    finally:
        task.cancel()
