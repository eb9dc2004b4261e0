"""The JSON Schema of the model description; ``python -m hwgen.model.schema`` writes it."""

import json
from pathlib import Path

from .description import Description

__all__ = ["schema_text"]


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of format version 1, as it stands in docs/."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema",
              **Description.model_json_schema(by_alias=True)}
    schema["title"] = "hwgen model description, format version 1"
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    path = Path(__file__).resolve().parents[2] / "docs" / "model.schema.json"
    path.write_text(schema_text(), encoding="utf-8")
    print(path)
