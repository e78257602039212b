"""The configured encoder, loaded on the process's device."""

from __future__ import annotations

from chassis import checkpoint
from chassis.config import ConfigError
from chassis.runtime import Runtime
from services.retriever import encoder as encoders
from services.retriever.config import EncoderConfig
from services.retriever.encoder import Encoder, Side, Text

WARM_UP = Text("Which one is ready?")


async def load_encoder(config: EncoderConfig, runtime: Runtime, side: Side) -> Encoder:
    """One side of the configured encoder on the process's device, after a real inference.

    Raises ConfigError when there is no such model.
    """
    assert runtime.device is not None
    return await runtime.on_device(load_encoder_blocking, config, side, runtime.device.torch_name)


def load_encoder_blocking(config: EncoderConfig, side: Side, device: str) -> Encoder:
    """The same on a device that is named (`cpu`, `cuda:N`), for the thread that will compute on it."""
    question = checkpoint.find(config.model)
    passage = question
    if config.encoder == "dpr":
        if not config.passage_model:
            raise ConfigError("passage_model: dpr has two towers; this names the DPRContextEncoder")
        passage = checkpoint.find(config.passage_model)
    encoder = encoders.load(config.encoder, side, question, passage, device, config.dtype)
    encoder.run(encoder.prepare([WARM_UP]))
    return encoder
