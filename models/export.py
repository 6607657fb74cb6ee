"""The demo pair in the formats of other engines, made from the shipped weights, without a hub.

    python -m models.export DIR

writes

    DIR/hf/{target,drafter,eagle3,mtp}           Hugging Face directories, for vLLM and SGLang
    DIR/gguf/{target,drafter,eagle3}.gguf        for llama.cpp, in single precision

All hold the same values: the shipped fp16, exactly.  The target of `hf/mtp` is the Llama target under
the names of MiMoForCausalLM, whose attention has biases (zero here), with the MTP layer added.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Weights = dict[str, NDArray[np.generic]]

ROOT = Path(__file__).resolve().parent
PAIR = ROOT.parent / "src" / "speedbench" / "demo_pair"
HEADS = ROOT / "heads"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
AUX_LAYERS = (1, 2, 3)
"""What EAGLE-3 was trained on (`models.heads`): hidden states after so many layers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    export(directory)
    print(f"export: the demo pair for other engines is in {directory}")


def export(directory: Path) -> None:
    hf = directory / "hf"
    for name in ("target", "drafter"):
        write_hf(hf / name, read_config(name), load_file(PAIR / name / "model.safetensors"))
    write_hf(hf / "eagle3", eagle3_config(), eagle3_weights())
    write_hf(hf / "mtp", mimo_config(), mimo_weights())
    gguf = directory / "gguf"
    gguf.mkdir(parents=True, exist_ok=True)
    for name in ("target", "drafter"):
        write_llama_gguf(gguf / f"{name}.gguf", name)
    write_eagle3_gguf(gguf / "eagle3.gguf")


def read_config(name: str) -> dict[str, Any]:
    return dict(json.loads((PAIR / name / "config.json").read_bytes()))


def write_hf(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    ids = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    (folder / "generation_config.json").write_text(json.dumps(ids, indent=2) + "\n")
    for name in TOKENIZER_FILES:
        shutil.copyfile(PAIR / "target" / name, folder / name)


def shared() -> Weights:
    """The target's embedding, which is its output layer too."""
    target = load_file(PAIR / "target" / "model.safetensors")
    return {"embed": target["model.embed_tokens.weight"]}


def eagle3_config() -> dict[str, Any]:
    return {
        **read_config("target"),
        "architectures": ["LlamaForCausalLMEagle3"],
        "num_hidden_layers": 1,
        "draft_vocab_size": read_config("target")["vocab_size"],
        "eagle_aux_hidden_state_layer_ids": list(AUX_LAYERS),
        "tie_word_embeddings": False,
    }


def eagle3_weights() -> Weights:
    """The head under the names of published EAGLE-3 checkpoints."""
    outside = ("fc.", "norm.")
    head = load_file(HEADS / "eagle3" / "model.safetensors")
    named = {n if n.startswith(outside) else f"midlayer.{n}": w for n, w in head.items()}
    embed = shared()["embed"]
    return {**named, "embed_tokens.weight": embed, "lm_head.weight": embed.copy()}


def mimo_config() -> dict[str, Any]:
    return {
        **read_config("target"),
        "architectures": ["MiMoForCausalLM"],
        "model_type": "mimo",
        "attention_bias": True,
        "num_nextn_predict_layers": 1,
        "tie_word_embeddings": False,
    }


def mimo_weights() -> Weights:
    config = read_config("target")
    layers, head_dim = config["num_hidden_layers"], config["head_dim"]
    widths = {"q": config["num_attention_heads"] * head_dim}
    widths["k"] = widths["v"] = config["num_key_value_heads"] * head_dim
    target = load_file(PAIR / "target" / "model.safetensors")
    head = load_file(HEADS / "mtp" / "model.safetensors")
    weights: Weights = {**target, "lm_head.weight": shared()["embed"].copy()}
    weights |= {f"model.mtp_layers.0.{name}": weight for name, weight in head.items()}
    places = [*(f"model.layers.{i}" for i in range(layers)), "model.mtp_layers.0"]
    for place in places:
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
    config = read_config(name)
    weights = load_file(PAIR / name / "model.safetensors")
    writer = GGUFWriter(path, "llama")
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
    config = eagle3_config()
    weights = eagle3_weights()
    writer = GGUFWriter(path, "eagle3")
    describe(writer, config, "speedbench demo eagle3")
    writer.add_target_layers(list(AUX_LAYERS))
    writer.add_target_hidden_size(config["hidden_size"])
    writer.add_norm_before_residual(False)
    add(writer, "token_embd.weight", weights["embed_tokens.weight"])
    add(writer, "output.weight", weights["lm_head.weight"])
    add(writer, "output_norm.weight", weights["norm.weight"])
    add(writer, "fc.weight", weights["fc.weight"])
    for theirs, ours in LAYER_NAMES.items():
        weight = rotated(weights[f"midlayer.{theirs}.weight"], theirs, config)
        add(writer, f"blk.0.{ours}.weight", weight)
    finish(writer)


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
