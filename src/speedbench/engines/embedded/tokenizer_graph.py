"""The shipped tokenizer as OpenVINO graphs, built from ``tokenizer.json`` alone.

speedbench sends token ids, so the engine never tokenizes a prompt; but GenAI's speculative pipeline
encodes one sentence with both models' tokenizers to see that they agree, and a directory without a
tokenizer would be of little use to anybody else who opens it.
"""

from __future__ import annotations

import json
from pathlib import Path

import openvino as ov
from openvino_tokenizers import tokenizer_pipeline as steps
from openvino_tokenizers.utils import change_inputs_type, change_outputs_type


def write(source: Path, target: Path) -> None:
    """Write tokenizer and detokenizer graphs for the byte-level BPE of `source` into `target`."""
    tokenizer = json.loads((source / "tokenizer.json").read_bytes())
    special = [token for token in tokenizer["added_tokens"] if token["special"]]
    end_of_sequence = json.loads((source / "generation_config.json").read_bytes())["eos_token_id"]
    pipeline = steps.TokenizerPipeline()
    pipeline.add_steps(
        [
            steps.SpecialTokensSplit([steps.SpecialToken(token["content"]) for token in special]),
            steps.RegexSplitStep.byte_level_splitter(),
            steps.BytesToCharsStep(),
            steps.BPETokenizationStep.from_hf_json(tokenizer),
            steps.CombineSegmentsStep(inputs=[steps.Sequence(token_type_id=0)]),
            steps.PaddingStep(token="", _token_id=end_of_sequence),
            steps.VocabDecoderStep(skip_tokens=[token["id"] for token in special]),
            steps.CharsToBytesStep(),
        ]
    )
    encoder = pipeline.get_tokenizer_ov_subgraph()
    decoder = pipeline.get_detokenizer_ov_subgraph()
    change_outputs_type(encoder, ov.Type.i64)  # GenAI exchanges ids as i64
    change_inputs_type(decoder, ov.Type.i64)
    ov.save_model(encoder, target / "openvino_tokenizer.xml")
    ov.save_model(decoder, target / "openvino_detokenizer.xml")
