"""Diagnostics for tools: JSON and SARIF 2.1.0 (https://docs.oasis-open.org/sarif/)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attnlang.compiler.diagnostics.catalogue import CATALOGUE
from attnlang.compiler.diagnostics.model import Diagnostic, Label

SCHEMA = "attnlang.diagnostics/1"


def to_json(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """A JSON-ready object: schema name and one record per diagnostic."""
    return {"schema": SCHEMA, "diagnostics": [_record(d) for d in diagnostics]}


def _record(d: Diagnostic) -> dict[str, Any]:
    return {
        "severity": str(d.severity),
        "code": d.code,
        "message": d.message,
        "primary": _label(d.primary) if d.primary else None,
        "secondary": [_label(label) for label in d.secondary],
        "notes": list(d.notes),
        "help": d.help,
    }


def _label(label: Label) -> dict[str, Any]:
    begin, finish = label.span.begin, label.span.finish
    return {
        "file": label.span.source.name,
        "line": begin.line,
        "column": begin.column,
        "end_line": finish.line,
        "end_column": finish.column,
        "text": label.text,
    }


def to_sarif(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """A SARIF log with one run, for code-scanning services and editors."""
    found = tuple(diagnostics)
    rules = [
        {
            "id": code,
            "shortDescription": {"text": CATALOGUE[code].title},
            "fullDescription": {"text": CATALOGUE[code].explanation},
        }
        for code in sorted({d.code for d in found})
    ]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "attnlang", "rules": rules}},
                "results": [_result(d) for d in found],
            }
        ],
    }


def _result(d: Diagnostic) -> dict[str, Any]:
    text = d.message if d.help is None else f"{d.message} ({d.help})"
    result: dict[str, Any] = {
        "ruleId": d.code,
        "level": str(d.severity),
        "message": {"text": text},
    }
    if d.primary:
        result["locations"] = [_location(d.primary)]
    if d.secondary:
        result["relatedLocations"] = [_location(label) for label in d.secondary]
    return result


def _location(label: Label) -> dict[str, Any]:
    begin, finish = label.span.begin, label.span.finish
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": label.span.source.name},
            "region": {
                "startLine": begin.line,
                "startColumn": begin.column,
                "endLine": finish.line,
                "endColumn": finish.column,
            },
        }
    }
    if label.text:
        location["message"] = {"text": label.text}
    return location
