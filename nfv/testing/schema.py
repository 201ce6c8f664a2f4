"""The JSON Schema of case files, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from nfv.chain import schema as topologies
from nfv.testing.case import CaseConfig


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a case file; a topology in it is one as files have it."""
    whole = topologies.tidy(CaseConfig.model_json_schema(by_alias=True))
    inline = topologies.schema()
    definitions = {**inline.pop("$defs"), **whole.pop("$defs")}
    inline.pop("$schema")
    topology = whole["properties"]["topology"]
    topology["anyOf"] = [{"type": "string"}, inline]
    return {"$schema": topologies.DIALECT, "title": "nfv test case", **whole, "$defs": definitions}
