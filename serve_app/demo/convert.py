"""Turns the demo model's GGUF file into the safetensors folder that vLLM serves. Runs inside the virtual environment.

    python -m serve_app.demo.convert GGUF_FILE OUT_DIR

One thread: the same file always gives the same bytes, so that a committed manifest can vouch for the result.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def convert(gguf: Path, out: Path) -> None:
    """Dequantizes `gguf` to bfloat16 and writes model, config, tokenizer and chat template into `out`."""
    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # The weights are plain numbers from here on: what still says "GGUF" would make the loader dequantize them again.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serve_app.demo.convert")
    parser.add_argument("gguf", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    convert(arguments.gguf, arguments.out)


if __name__ == "__main__":
    main()
