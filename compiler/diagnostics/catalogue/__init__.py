"""The catalogue of every mistake: ``attnlang explain AL101`` prints an entry."""

from attnlang.compiler.diagnostics.catalogue import (
    binding,
    names,
    remarks,
    structure,
    text,
    types,
)
from attnlang.compiler.diagnostics.catalogue.entry import Entry

CATALOGUE: dict[str, Entry] = {
    entry.code: entry
    for module in (text, names, types, structure, binding, remarks)
    for entry in module.ENTRIES
}

__all__ = ["CATALOGUE", "Entry"]
