"""Messages to token ids, by the target's own tokenizer and chat template, applied once by us."""

from __future__ import annotations

from speedbench.tokenization.chat import ChatTokenizer, Message, hash_ids, hash_messages

__all__ = ["ChatTokenizer", "Message", "hash_ids", "hash_messages"]
