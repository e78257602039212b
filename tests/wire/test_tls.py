"""Mutual TLS on every hop, and certificates that are replaced while calls run."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import trustme

from chassis.config import ConfigError
from chassis.tls import Identity, IdentityFiles, channel_credentials, server_credentials
from cli.processes import Process
from cli.system import TREE, clean_environment, free_ports
from tests.wire.scripted_stages import (
    ScriptedGenerator,
    ScriptedReranker,
    ScriptedRetriever,
    serving,
)
from trivium.v1.gateway_pb2 import AnswerRequest, AnswerStreamRequest
from trivium.v1.gateway_pb2_grpc import GatewayServiceStub

PATIENCE_S = 60
MAX_DEADLINE_S = 15
"""Of the gateway: so long, and a second, it keeps channels that it has replaced."""

GATEWAY = """
from chassis.server import run
from gateway import connections
from gateway.__main__ import build
from gateway.config import GatewayConfig

connections.ROTATION_INTERVAL_S = 0.2
run("gateway", GatewayConfig, build)
"""


class Secret:
    """A folder as Kubernetes mounts a Secret: replaced as a whole, by a link that is led elsewhere."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.folder, self._authority, self._turns = folder, authority, 0
        self.leaf = b""
        self.rotate()
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (folder / name).symlink_to(Path("..data") / name)

    def rotate(self) -> None:
        """A new certificate with a new key, of the same authority."""
        issued = self._authority.issue_cert("localhost", "127.0.0.1")
        self.leaf = issued.cert_chain_pems[0].bytes()
        self.mount(
            b"".join(one.bytes() for one in issued.cert_chain_pems),
            issued.private_key_pem.bytes(),
            self._authority.cert_pem.bytes(),
        )

    def mount(self, certificate: bytes, key: bytes, ca: bytes) -> None:
        self._turns += 1
        data = self.folder / f"..turn_{self._turns}"
        data.mkdir(parents=True)
        for name, text in (("tls.crt", certificate), ("tls.key", key), ("ca.crt", ca)):
            (data / name).write_bytes(text)
        (self.folder / "..new").symlink_to(data.name)
        (self.folder / "..new").replace(self.folder / "..data")

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        return self.folder / "tls.crt", self.folder / "tls.key", self.folder / "ca.crt"

    def files(self) -> IdentityFiles:
        return IdentityFiles(*self.paths)

    def identity(self) -> Identity:
        return self.files().read()

    def environment(self, prefix: str) -> dict[str, str]:
        names = ("TLS_CERTIFICATE_PATH", "TLS_KEY_PATH", "TLS_CA_PATH")
        return {f"{prefix}_{name}": str(path) for name, path in zip(names, self.paths, strict=True)}


@dataclass
class System:
    """A gateway's own process, the scripted stages behind it, and their Secrets."""

    authority: trustme.CA
    client: Secret
    gateway: Secret
    stages: Secret
    retriever: ScriptedRetriever = field(default_factory=lambda: ScriptedRetriever(["a", "b"]))
    reranker: ScriptedReranker = field(default_factory=ScriptedReranker)
    generator: ScriptedGenerator = field(default_factory=ScriptedGenerator)
    process: Process = field(init=False)

    @asynccontextmanager
    async def channel(self, credentials: grpc.ChannelCredentials | None) -> AsyncIterator[grpc.aio.Channel]:
        """To the gateway; plain without credentials."""
        address = self.process.address
        made = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
        async with made:
            yield made

    def shown_at(self, address: str) -> bytes:
        """The certificate, in DER, that a new connection there meets."""
        certificate, key, ca = self.client.paths
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["h2"])
        host, _, port = address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), 5) as connection,
            context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    authority = trustme.CA()
    client, gateway, stages = (Secret(tmp_path / name, authority) for name in ("client", "gateway", "stages"))
    system = System(authority, client, gateway, stages)
    scripted = (system.retriever, system.reranker, system.generator)
    async with serving(*scripted, credentials=lambda: server_credentials(stages.files()), max_connection_age_s=1):
        system.process = gateway_process(system)
        system.process.start()
        try:
            await until(lambda: '"serving"' in "".join(system.process.lines), system.process)
            yield system
        finally:
            await asyncio.to_thread(system.process.kill)


def gateway_process(system: System) -> Process:
    port, health_port, metrics_port = free_ports(3)
    environment = {
        "GATEWAY_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "GATEWAY_HEALTH_ADDRESS": f"127.0.0.1:{health_port}",
        "GATEWAY_METRICS_ADDRESS": f"127.0.0.1:{metrics_port}",
        "GATEWAY_RETRIEVER_ADDRESS": system.retriever.address,
        "GATEWAY_RERANKER_ADDRESS": system.reranker.address,
        "GATEWAY_GENERATOR_ADDRESS": system.generator.address,
        "GATEWAY_MAX_CONNECTION_AGE_S": "1",
        "GATEWAY_MAX_DEADLINE_S": str(MAX_DEADLINE_S),
        **system.gateway.environment("GATEWAY"),
    }
    return Process(
        "gateway",
        [sys.executable, "-c", GATEWAY],
        clean_environment() | environment,
        address=f"127.0.0.1:{port}",
        health_address=f"127.0.0.1:{health_port}",
        working_path=TREE,
    )


async def until(condition: Callable[[], bool], process: Process) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            process.raise_if_ended()
            await asyncio.sleep(0.05)


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


async def test_a_question_is_answered_over_mutual_tls_on_every_hop(system: System) -> None:
    assert await asyncio.to_thread(system.process.is_serving), "the health port stays plain"
    async with system.channel(channel_credentials(system.client.identity())) as channel:
        answer = await GatewayServiceStub(channel).Answer(AnswerRequest(question="What?"), timeout=PATIENCE_S)
    assert answer.text == "Forty-two [1]."
    for stage in (system.retriever, system.reranker, system.generator):
        assert der(stage.callers[-1]) == der(system.gateway.leaf), "the gateway showed its own certificate"


async def test_the_command_line_shows_its_certificate(system: System) -> None:
    async def ask(environment: dict[str, str], *options: str) -> tuple[int | None, str]:
        arguments = ("-m", "cli", *options, "ask", "What?", "--json", "--gateway", system.process.address)
        asked = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=environment, cwd=TREE, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asked.communicate()
        return asked.returncode, output.decode()

    status, output = await ask(clean_environment() | system.client.environment("TRIVIUM"))
    assert (status, json.loads(output)["text"]) == (0, "Forty-two [1].")
    certificate, key, ca = map(str, system.client.paths)
    options = ("--tls-certificate", certificate, "--tls-key", key, "--tls-ca", ca)
    status, output = await ask(clean_environment(), *options)
    assert (status, json.loads(output)["text"]) == (0, "Forty-two [1].")
    status, output = await ask(clean_environment())
    assert status == 1
    assert json.loads(output)["error"]["code"] == "UNAVAILABLE"


async def test_nobody_is_served_without_a_certificate_of_the_authority(system: System, tmp_path: Path) -> None:
    trusted = system.client.identity()
    stranger = Secret(tmp_path / "stranger", trustme.CA()).identity()
    credentials = {
        "plain": None,
        "TLS without a certificate": grpc.ssl_channel_credentials(trusted.ca),
        "a stranger's certificate": channel_credentials(Identity(stranger.certificate, stranger.key, trusted.ca)),
        "another authority for the server": channel_credentials(
            Identity(trusted.certificate, trusted.key, stranger.ca)
        ),
    }
    for kind, shown in credentials.items():
        async with system.channel(shown) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await GatewayServiceStub(channel).Answer(AnswerRequest(question="What?"), timeout=PATIENCE_S)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE, kind
    assert not system.retriever.requests


@pytest.mark.slow
async def test_a_rotation_under_calls_fails_none_and_cuts_none(system: System) -> None:
    """Both ends of both hops: the gateway shows its new certificate to callers and to stages, and stages theirs."""
    answers: list[str] = []
    finished, released = asyncio.Event(), asyncio.Event()
    before = system.gateway.leaf

    async def hold(context: object) -> None:
        await released.wait()

    system.generator.midway_acts.append(hold)

    async def ask_on_and_on(channel: grpc.aio.Channel) -> None:
        while not finished.is_set():
            answer = await GatewayServiceStub(channel).Answer(AnswerRequest(question="What?"), timeout=MAX_DEADLINE_S)
            assert not answer.report.degraded
            answers.append(answer.text)
            await asyncio.sleep(0.02)

    async def stream(channel: grpc.aio.Channel) -> str:
        request = AnswerStreamRequest(question="What?")
        return "".join([one.delta.text async for one in GatewayServiceStub(channel).AnswerStream(request, timeout=60)])

    async with system.channel(channel_credentials(system.client.identity())) as channel:
        assert await asyncio.to_thread(system.shown_at, system.process.address) == der(before)
        streaming = asyncio.create_task(stream(channel))
        await asyncio.wait_for(system.generator.called.wait(), PATIENCE_S)
        asking = [asyncio.create_task(ask_on_and_on(channel)) for _ in range(4)]
        await until(lambda: len(answers) > 20, system.process)
        assert {der(one) for one in system.generator.callers} == {der(before)}
        system.gateway.rotate()
        system.stages.rotate()
        await until(lambda: der(system.retriever.callers[-1]) == der(system.gateway.leaf), system.process)
        assert not streaming.done(), "the stream was to be in flight while the channels were replaced"
        for address, secret in ((system.process.address, system.gateway), (system.reranker.address, system.stages)):
            assert await asyncio.to_thread(system.shown_at, address) == der(secret.leaf)
        released.set()
        assert await streaming == "Forty-two [1]."
        await asyncio.sleep(MAX_DEADLINE_S + 2)  # by then the old channels are closed
        assert not any(task.done() for task in asking), "a call failed"
        finished.set()
        await asyncio.gather(*asking)
    assert set(answers) == {"Forty-two [1]."}
    assert sum("new certificate" in line for line in system.process.lines) == 2, "one for callers, one for stages"


async def test_an_unfit_certificate_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret, other = (Secret(tmp_path / name, trustme.CA()) for name in ("one", "other"))
    files = secret.files()
    first = files.read()
    assert files.read_if_changed() is None, "nothing has changed"
    secret.mount(other.identity().certificate, first.key, first.ca)
    assert files.read_if_changed() is None
    assert "the old one stays" in caplog.text
    secret.rotate()
    second = files.read_if_changed()
    assert second is not None
    assert second.certificate != first.certificate
    assert second.key != first.key


def absent(secret: Secret) -> None:
    (secret.folder / "tls.key").unlink()


def of_another_key(secret: Secret) -> None:
    identity, other = secret.identity(), trustme.CA().issue_cert("localhost")
    secret.mount(identity.certificate, other.private_key_pem.bytes(), identity.ca)


def no_authority(secret: Secret) -> None:
    identity = secret.identity()
    secret.mount(identity.certificate, identity.key, b"no PEM")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [(absent, "tls.key"), (of_another_key, "tls_key_path"), (no_authority, "tls_ca_path")],
    ids=["no file", "another key", "no PEM"],
)
def test_unfit_files_are_a_refusal_to_start(tmp_path: Path, spoil: Callable[[Secret], None], named: str) -> None:
    secret = Secret(tmp_path / "secret", trustme.CA())
    spoil(secret)
    with pytest.raises(ConfigError, match=named):
        server_credentials(secret.files())
