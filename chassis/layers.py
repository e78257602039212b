"""The layers of a BERT-like encoder as an ONNX graph, run by ONNX Runtime. Imports onnx, onnxruntime and torch.

On a CPU in float32 it takes one question through the layers in less than half of torch's time, and holds Python's
lock for none of it (docs/performance.md). The graph is written here, from a loaded module's weights, rather than
exported: that takes a fraction of a second and not ten. Embeddings, pooling and heads stay the module's own.

Per layer, with x the tokens of all texts in one row (Devlin et al., BERT, 2018, arXiv:1810.04805):

    a = norm(x + attention(x)),   y = norm(a + W₂ gelu(W₁ a))

Linear layers, norms and gelu see the row; attention sees it spread out to (texts, longest) and masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from chassis.device import num_threads

MAX_BYTES = 1_800_000_000
"""Of weights. A graph is one protobuf message, which ends at 2 GiB."""

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
IR_VERSION = 8


def is_expressible(encoder: Any) -> bool:
    """Whether the graph computes what this encoder does: its activation, its size, no second attention."""
    config = encoder.config
    size = sum(weights.numel() * weights.element_size() for weights in encoder.parameters())
    return config.hidden_act == "gelu" and not config.is_decoder and size < MAX_BYTES


class Layers:
    """All layers of one encoder, on the CPU, in float32."""

    def __init__(self, encoder: Any) -> None:
        graph = _Graph()
        row = "row"
        for number, layer in enumerate(encoder.layer):
            row = _layer(graph, f"{number}.", layer, encoder.config.num_attention_heads, row)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads()
        options.enable_mem_pattern = False  # every batch has a shape of its own
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph.model(row, encoder.config.hidden_size), options, providers=["CPUExecutionProvider"]
        )

    def run(self, row: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """The last states, (tokens, dimension), of texts of these lengths that follow each other in `row`."""
        spread, gathered, mask = _places(lengths)
        inputs = {"row": row, "spread": spread, "gathered": gathered, "mask": mask}
        states: NDArray[np.float32] = self._session.run(None, inputs)[0]
        return states


def _places(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Where each place of (texts, longest) is in the row, where each token of the row is there, and the mask."""
    columns = np.arange(lengths.max())
    is_token = columns < lengths[:, None]
    starts = np.cumsum(lengths) - lengths
    spread = np.where(is_token, starts[:, None] + columns, 0)
    return spread, np.flatnonzero(is_token), is_token.astype(np.int32)


class _Graph:
    """Nodes and weights, as they come."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def weight(self, name: str, weight: torch.Tensor) -> str:
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(weight.detach().numpy()), name))
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        self._weights.append(numpy_helper.from_array(np.asarray(values, dtype=np.int64), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], *outputs: str, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def linear(self, name: str, layers: Sequence[torch.nn.Linear], states: str) -> str:
        """One product for layers that read the same."""
        weight = self.weight(f"{name}.weight", torch.cat([layer.weight for layer in layers]).t())
        bias = self.weight(f"{name}.bias", torch.cat([layer.bias for layer in layers]))
        return self.add("Add", [self.add("MatMul", [states, weight], f"{name}.product"), bias], f"{name}.out")

    def norm(self, name: str, norm: torch.nn.LayerNorm, states: str, added: str) -> str:
        """The norm of a sum."""
        inputs = [states, added, self.weight(f"{name}.weight", norm.weight), self.weight(f"{name}.bias", norm.bias)]
        return self.add("SkipLayerNormalization", inputs, f"{name}.out", domain="com.microsoft", epsilon=norm.eps)

    def model(self, last: str, dimension: int) -> bytes:
        inputs = [
            helper.make_tensor_value_info("row", TensorProto.FLOAT, ["tokens", dimension]),
            helper.make_tensor_value_info("spread", TensorProto.INT64, ["texts", "longest"]),
            helper.make_tensor_value_info("gathered", TensorProto.INT64, ["tokens"]),
            helper.make_tensor_value_info("mask", TensorProto.INT32, ["texts", "longest"]),
        ]
        outputs = [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["tokens", dimension])]
        self.integers("flat", [-1, dimension])
        graph = helper.make_graph(self._nodes, "layers", inputs, outputs, self._weights)
        model: bytes = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION).SerializeToString()
        return model


def _layer(graph: _Graph, name: str, layer: Any, num_heads: int, row: str) -> str:
    attention, own = layer.attention, layer.attention.self
    parts = graph.linear(f"{name}qkv", [own.query, own.key, own.value], row)
    texts = graph.add("Gather", [parts, "spread"], f"{name}texts", axis=0)
    query, key, value = (f"{name}{part}" for part in ("query", "key", "value"))
    graph.add("Split", [texts], query, key, value, axis=2)
    inputs = [query, key, value, "", "mask"]
    attended = graph.add("MultiHeadAttention", inputs, f"{name}attended", domain="com.microsoft", num_heads=num_heads)
    flat = graph.add("Reshape", [attended, "flat"], f"{name}flat")
    back = graph.add("Gather", [flat, "gathered"], f"{name}back", axis=0)
    projected = graph.linear(f"{name}projection", [attention.output.dense], back)
    middle = graph.norm(f"{name}middle", attention.output.LayerNorm, projected, row)
    inner = graph.linear(f"{name}inner", [layer.intermediate.dense], middle)
    active = graph.add("Gelu", [inner], f"{name}active", domain="com.microsoft")
    outer = graph.linear(f"{name}outer", [layer.output.dense], active)
    return graph.norm(f"{name}last", layer.output.LayerNorm, outer, middle)
