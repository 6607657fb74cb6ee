"""The demo pair in the formats of other engines, made from the shipped weights, without a hub.

    python -m models.export DIR [--only vllm|gguf]

writes

    DIR/vllm/{target,drafter,eagle3,mtp}         Hugging Face directories
    DIR/gguf/{target,drafter,eagle3}.gguf        for llama.cpp, in single precision

All hold the same values: the shipped fp16, exactly; the same command writes the same bytes.  The
target of `vllm/mtp` is the Llama target under the names of MiMoForCausalLM, whose attention has
biases (zero here), with the MTP layer added.  `gguf` (numpy and three small packages) writes the
second kind; it is asked for only then.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

if TYPE_CHECKING:
    from gguf import GGUFWriter

Weights = dict[str, NDArray[np.generic]]

ROOT = Path(__file__).resolve().parent
PAIR = ROOT.parent / "src" / "speedbench" / "demo_pair"
HEADS = ROOT / "heads"
PAIR_NAMES = ("target", "drafter")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", choices=["vllm", "gguf"], help="one kind instead of both")
    args = parser.parse_args()
    if args.only != "gguf":
        export_vllm(args.directory / "vllm")
    if args.only != "vllm":
        export_gguf(args.directory / "gguf")
    print(f"export: the demo pair for other engines is in {args.directory}")


def export_vllm(folder: Path) -> None:
    for name in PAIR_NAMES:
        write_hf(folder / name, read_config(PAIR / name), read_weights(PAIR / name))
    write_hf(folder / "eagle3", head_config("eagle3"), eagle3_weights())
    write_hf(folder / "mtp", head_config("mtp"), mimo_weights())


def export_gguf(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in PAIR_NAMES:
        write_llama_gguf(folder / f"{name}.gguf", name)
    write_eagle3_gguf(folder / "eagle3.gguf")


def read_config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_bytes()))


def read_weights(folder: Path) -> Weights:
    return dict(load_file(folder / "model.safetensors"))


def head_config(kind: str) -> dict[str, Any]:
    """The target's configuration with what the head changes."""
    return {**read_config(PAIR / "target"), **read_config(HEADS / kind)}


def write_hf(folder: Path, config: Mapping[str, Any], weights: Weights) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # In one piece by Path, for the permissions that a user's other files have.
    (folder / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    write_json(folder / "config.json", config)
    ids = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(folder / "generation_config.json", ids)
    for name in TOKENIZER_FILES:
        shutil.copyfile(PAIR / "target" / name, folder / name)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def embedding() -> NDArray[np.generic]:
    """The target's, which is its output layer too."""
    return read_weights(PAIR / "target")["model.embed_tokens.weight"]


def eagle3_weights() -> Weights:
    """The head under the names of published EAGLE-3 checkpoints, target's embedding put in."""
    outside = ("fc.", "norm.")
    head = read_weights(HEADS / "eagle3")
    named = {n if n.startswith(outside) else f"midlayer.{n}": w for n, w in head.items()}
    return {**named, "embed_tokens.weight": embedding(), "lm_head.weight": embedding()}


def mimo_weights() -> Weights:
    """The target under MiMo's names, biases of zero, and the MTP layer."""
    config = head_config("mtp")
    weights: Weights = {**read_weights(PAIR / "target"), "lm_head.weight": embedding()}
    head = read_weights(HEADS / "mtp")
    weights |= {f"model.mtp_layers.0.{name}": weight for name, weight in head.items()}
    places = [f"model.layers.{i}" for i in range(config["num_hidden_layers"])]
    widths = {"q": config["num_attention_heads"] * config["head_dim"]}
    widths["k"] = widths["v"] = config["num_key_value_heads"] * config["head_dim"]
    for place in (*places, "model.mtp_layers.0"):
        for name, width in widths.items():
            weights[f"{place}.self_attn.{name}_proj.bias"] = np.zeros(width, np.float16)
    return weights


# --- llama.cpp -----------------------------------------------------------------------------------

# Names of tensors as of llama.cpp mid-2026 (gguf-py/gguf/constants.py).
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "hidden_norm": "attn_norm_2",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_llama_gguf(path: Path, name: str) -> None:
    config = read_config(PAIR / name)
    weights = read_weights(PAIR / name)
    writer = new_writer(path, "llama")
    describe(writer, config, f"speedbench demo {name}")
    add(writer, "token_embd.weight", weights["model.embed_tokens.weight"])
    add(writer, "output_norm.weight", weights["model.norm.weight"])
    for i in range(config["num_hidden_layers"]):
        for theirs, ours in LAYER_NAMES.items():
            weight = weights.get(f"model.layers.{i}.{theirs}.weight")
            if weight is not None:
                add(writer, f"blk.{i}.{ours}.weight", rotated(weight, theirs, config))
    finish(writer)


def write_eagle3_gguf(path: Path) -> None:
    config = head_config("eagle3")
    weights = eagle3_weights()
    writer = new_writer(path, "eagle3")
    describe(writer, config, "speedbench demo eagle3")
    # Newer than the gguf package that the registry has: by their names (src/llama-arch.cpp).
    writer.add_array("eagle3.target_layers", config["eagle_aux_hidden_state_layer_ids"])
    writer.add_uint32("eagle3.target_hidden_size", config["hidden_size"])
    writer.add_bool("eagle3.norm_before_residual", False)
    add(writer, "token_embd.weight", weights["embed_tokens.weight"])
    add(writer, "output.weight", weights["lm_head.weight"])
    add(writer, "output_norm.weight", weights["norm.weight"])
    add(writer, "fc.weight", weights["fc.weight"])
    for theirs, ours in LAYER_NAMES.items():
        weight = rotated(weights[f"midlayer.{theirs}.weight"], theirs, config)
        add(writer, f"blk.0.{ours}.weight", weight)
    finish(writer)


def new_writer(path: Path, architecture: str) -> GGUFWriter:
    from gguf import GGUFWriter

    return GGUFWriter(path, architecture)


def describe(writer: GGUFWriter, config: Mapping[str, Any], name: str) -> None:
    writer.add_name(name)
    writer.add_file_type(0)  # everything in F32
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    add_tokenizer(writer, config)


def add_tokenizer(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    """The byte-level BPE; "starcoder" is llama.cpp's name for ours: digits alone, then GPT-2's."""
    from gguf import TokenType

    tokenizer = json.loads((PAIR / "target" / "tokenizer.json").read_bytes())
    settings = json.loads((PAIR / "target" / "tokenizer_config.json").read_bytes())
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda entry: entry[1])
    special = {entry["content"] for entry in tokenizer["added_tokens"]}
    kinds = [TokenType.CONTROL if t in special else TokenType.NORMAL for t, _ in vocabulary]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)  # the chat template writes it
    writer.add_chat_template(settings["chat_template"])


def rotated(weight: NDArray[Any], name: str, config: Mapping[str, Any]) -> NDArray[Any]:
    """Rows of queries and keys as llama.cpp rotates them: pairs side by side, not half by half."""
    heads = {
        "self_attn.q_proj": config["num_attention_heads"],
        "self_attn.k_proj": config["num_key_value_heads"],
    }.get(name)
    if heads is None:
        return weight
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def add(writer: GGUFWriter, name: str, weight: NDArray[Any]) -> None:
    writer.add_tensor(name, np.ascontiguousarray(weight, dtype=np.float32))


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
