"""Messages to token ids, by the target's own tokenizer and chat template, applied once by us."""

from __future__ import annotations

from speedbench.tokenization.chat import ChatTokenizer, Message, hash_ids, hash_messages
from speedbench.tokenization.source import chat_tokenizer, from_directory

__all__ = [
    "ChatTokenizer",
    "Message",
    "chat_tokenizer",
    "from_directory",
    "hash_ids",
    "hash_messages",
]
