"""The client's own process: sockets, stamps and the journal, and as little else as possible.

This room is imported by thousands of turns a second; it needs neither numpy nor a tokenizer.
`speedbench.load` leads it.
"""
