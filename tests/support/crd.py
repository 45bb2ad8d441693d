"""A CustomResourceDefinition as JSON Schema, as strict as kubectl's --validate=strict: no unknown fields."""

from typing import Any

import jsonschema
import yaml


def schema_of(text: str, version: str) -> dict[str, Any]:
    """The schema of one version of the resource that the CRD defines."""
    definition = yaml.safe_load(text)
    (found,) = (each for each in definition["spec"]["versions"] if each["name"] == version)
    schema: dict[str, Any] = strict(found["schema"]["openAPIV3Schema"])
    return schema


def strict(schema: Any) -> Any:
    """An OpenAPI schema in JSON Schema's words, where an object has no fields but those listed."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: strict(value) for name, value in schema.items() if name != "properties"}
    if "properties" in schema:  # their names are a person's words, not the schema's
        said["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
        if not open_ended:
            said["additionalProperties"] = False
    if schema.get("nullable"):
        said["type"] = [schema["type"], "null"]
    return said


def mistakes(document: Any, schema: dict[str, Any]) -> list[str]:
    """Where the document is not what the schema wants, one line each."""
    found = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return sorted(f"{error.json_path}: {error.message[:200]}" for error in found)
