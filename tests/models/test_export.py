"""The exported files, read back by the libraries that define their formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import load_file
from tests.models.reference import angles, rotate_halves
from tokenizers import Tokenizer

from models import export

PAIR = export.PAIR
MAX_HEADS_BYTES = 6_000_000


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export.export_vllm(folder / "vllm")
    export.export_gguf(folder / "gguf")
    return folder


def field(reader: GGUFReader, name: str) -> object:
    return reader.fields[name].contents()


def tensors(file: Path) -> dict[str, np.ndarray]:
    return {t.name: t.data for t in GGUFReader(file).tensors}


def test_the_same_bytes_every_time(exported: Path, tmp_path: Path) -> None:
    export.export_vllm(tmp_path / "vllm")
    export.export_gguf(tmp_path / "gguf")
    files = [p.relative_to(exported) for p in exported.rglob("*") if p.is_file()]
    assert len(files) == 4 * 5 + 3
    assert [f for f in files if (exported / f).read_bytes() != (tmp_path / f).read_bytes()] == []


def test_one_kind_needs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["export", str(tmp_path), "--only", "vllm"])
    export.main()
    assert [p.name for p in tmp_path.iterdir()] == ["vllm"]


@pytest.mark.parametrize("name", ["target", "drafter"])
def test_the_pair_goes_out_as_shipped(exported: Path, name: str) -> None:
    shipped = load_file(PAIR / name / "model.safetensors")
    written = load_file(exported / "vllm" / name / "model.safetensors")
    assert shipped.keys() == written.keys()
    assert all(np.array_equal(shipped[n], written[n]) for n in shipped)
    gguf = tensors(exported / "gguf" / f"{name}.gguf")
    assert np.array_equal(gguf["token_embd.weight"], shipped["model.embed_tokens.weight"])
    assert sum(w.size for w in gguf.values()) == sum(w.size for w in shipped.values())


def test_the_mtp_target_is_the_target(exported: Path) -> None:
    shipped = load_file(PAIR / "target" / "model.safetensors")
    mimo = load_file(exported / "vllm" / "mtp" / "model.safetensors")
    assert all(np.array_equal(mimo[name], weight) for name, weight in shipped.items())
    biases = [weight for name, weight in mimo.items() if name.endswith(".bias")]
    assert len(biases) == (4 + 1) * 3
    assert not any(weight.any() for weight in biases)


def test_queries_and_keys_meet_under_llama_cpps_rotation(exported: Path) -> None:
    """RoPE on neighbouring rows gives the scores that RoPE on halves gave before."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 256))
    shipped = load_file(PAIR / "target" / "model.safetensors")
    gguf = tensors(exported / "gguf" / "target.gguf")

    def rotate_neighbours(y: np.ndarray) -> np.ndarray:
        cos, sin = angles(*y.shape[1:])
        even, odd = y[..., 0::2], y[..., 1::2]
        return np.stack([even * cos - odd * sin, odd * cos + even * sin], -1).reshape(y.shape)

    def heads(weight: np.ndarray) -> np.ndarray:
        return (x @ weight.T.astype(float)).reshape(6, -1, 64).swapaxes(0, 1)

    place = "model.layers.2.self_attn"
    q, k = (rotate_halves(heads(shipped[f"{place}.{n}_proj.weight"])) for n in "qk")
    q2, k2 = (rotate_neighbours(heads(gguf[f"blk.2.attn_{n}.weight"])) for n in "qk")
    expected = q @ k.repeat(2, 0).swapaxes(1, 2)
    assert np.allclose(q2 @ k2.repeat(2, 0).swapaxes(1, 2), expected, atol=1e-9)
    assert not np.allclose(
        heads(gguf["blk.2.attn_q.weight"]), heads(shipped[f"{place}.q_proj.weight"])
    )


@pytest.mark.parametrize("name", ["target", "drafter", "eagle3"])
def test_the_vocabulary_is_the_tokenizers(exported: Path, name: str) -> None:
    reader = GGUFReader(exported / "gguf" / f"{name}.gguf")
    tokenizer = Tokenizer.from_file(str(PAIR / "target" / "tokenizer.json"))
    settings = json.loads((PAIR / "target" / "tokenizer_config.json").read_bytes())
    tokens = field(reader, "tokenizer.ggml.tokens")
    assert tokens == [tokenizer.id_to_token(i) for i in range(4096)]
    kinds = np.array(field(reader, "tokenizer.ggml.token_type"))
    assert [tokens[i] for i in np.flatnonzero(kinds != 1)] == [
        token.content for token in tokenizer.get_added_tokens_decoder().values()
    ]
    assert field(reader, "tokenizer.ggml.add_bos_token") is False
    assert field(reader, "tokenizer.ggml.eos_token_id") == tokenizer.token_to_id("<|end|>")
    assert field(reader, "tokenizer.chat_template") == settings["chat_template"]


def test_the_head_names_the_layers_that_it_reads(exported: Path) -> None:
    reader = GGUFReader(exported / "gguf" / "eagle3.gguf")
    config = json.loads((exported / "vllm" / "eagle3" / "config.json").read_bytes())
    layers = config["eagle_aux_hidden_state_layer_ids"]
    assert field(reader, "general.architecture") == "eagle3"
    assert field(reader, "eagle3.target_layers") == layers
    width = config["hidden_size"]
    assert tensors(exported / "gguf" / "eagle3.gguf")["fc.weight"].shape == (width, 3 * width)


def test_the_heads_are_small_and_half_precision() -> None:
    files = sorted(export.HEADS.glob("*/model.safetensors"))
    assert [f.parent.name for f in files] == ["eagle3", "mtp"]
    assert sum(f.stat().st_size for f in files) < MAX_HEADS_BYTES
    assert {w.dtype for f in files for w in load_file(f).values()} == {np.dtype(np.float16)}
