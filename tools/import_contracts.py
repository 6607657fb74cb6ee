"""A forbidden-import contract over rooms of which some are not built yet."""

from typing import Any

from grimp import ImportGraph
from importlinter import ContractCheck
from importlinter.contracts.forbidden import ForbiddenContract


class ForbiddenWherePresent(ForbiddenContract):
    """As `forbidden`, but a source module that does not exist yet is left out."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        options: Any = self  # a contract's fields are declared as types and hold values
        present = {m for m in options.source_modules if m.expression in graph.modules}
        options.source_modules = present
        return super().check(graph, verbose)
