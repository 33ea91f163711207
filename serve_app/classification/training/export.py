"""The fitted network as an ONNX graph for one conversation.

ids int32 [L], weights float32 [2, L], structure float32 [S] -> complexity float32 [1],
domain_probabilities float32 [number of domains].
The embedding table is stored as float16: half the size, and far below the noise of the labels.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from serve_app.classification.structure import STRUCTURE_NAMES
from serve_app.classification.training.network import DOMAINS, STRUCTURE_CLIP, Network

ONNX_OPSET: Final = 17
_IR_VERSION: Final = 8


def to_onnx(network: Network) -> bytes:
    """The same bytes for the same weights."""
    graph = helper.make_graph(
        _nodes(),
        "upcoach_classifier",
        inputs=[
            helper.make_tensor_value_info("ids", TensorProto.INT32, ["L"]),
            helper.make_tensor_value_info("weights", TensorProto.FLOAT, [2, "L"]),
            helper.make_tensor_value_info("structure", TensorProto.FLOAT, [len(STRUCTURE_NAMES)]),
        ],
        outputs=[
            helper.make_tensor_value_info("complexity", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("domain_probabilities", TensorProto.FLOAT, [len(DOMAINS)]),
        ],
        initializer=[numpy_helper.from_array(array, name) for name, array in _constants(network).items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", ONNX_OPSET)], ir_version=_IR_VERSION, producer_name="upcoach"
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _nodes() -> list[Any]:
    node = helper.make_node
    return [
        node("Gather", ["table", "ids"], ["rows16"]),
        node("Cast", ["rows16"], ["rows"], to=TensorProto.FLOAT),
        node("MatMul", ["weights", "rows"], ["bags"]),
        node("Reshape", ["bags", "one_row"], ["bags_row"]),
        node("Sub", ["structure", "mean"], ["centred"]),
        node("Mul", ["centred", "scale"], ["standard"]),
        node("Clip", ["standard", "clip_low", "clip_high"], ["clipped"]),
        node("Reshape", ["clipped", "one_row"], ["structure_row"]),
        node("Concat", ["bags_row", "structure_row"], ["input_row"], axis=1),
        node("Gemm", ["input_row", "hidden_weight", "hidden_bias"], ["hidden_sum"], transB=1),
        node("Relu", ["hidden_sum"], ["hidden"]),
        node("Gemm", ["hidden", "heads_weight", "heads_bias"], ["logits_row"], transB=1),
        node("Reshape", ["logits_row", "flat"], ["logits"]),
        node("Split", ["logits", "head_sizes"], ["complexity_logit", "domain_logits"], axis=0),
        node("Sigmoid", ["complexity_logit"], ["complexity"]),
        node("Softmax", ["domain_logits"], ["domain_probabilities"], axis=0),
    ]


def _constants(network: Network) -> dict[str, npt.NDArray[Any]]:
    return {
        "table": _array(network.table.weight).astype(np.float16),
        "mean": _array(network.mean),
        "scale": _array(network.scale),
        "hidden_weight": _array(network.hidden.weight),
        "hidden_bias": _array(network.hidden.bias),
        "heads_weight": _array(network.heads.weight),
        "heads_bias": _array(network.heads.bias),
        "clip_low": np.array(-STRUCTURE_CLIP, dtype=np.float32),
        "clip_high": np.array(STRUCTURE_CLIP, dtype=np.float32),
        "one_row": np.array([1, -1], dtype=np.int64),
        "flat": np.array([-1], dtype=np.int64),
        "head_sizes": np.array([1, len(DOMAINS)], dtype=np.int64),
    }


def _array(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().numpy().astype(np.float32)
