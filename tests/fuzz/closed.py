"""The API's description with every door shut: no field, status or event that it does not name.

Published schemas are open, since later versions may say more; the server of this very version says nothing but what they name.
"""

import copy
from collections.abc import Iterator
from typing import Any


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy in which no object of an answer takes unnamed fields."""
    document = copy.deepcopy(document)
    components = document["components"]
    bodies = {media["schema"]["$ref"].rpartition("/")[2] for media in _request_media(document)}
    for name, schema in components["schemas"].items():
        if "properties" in schema and name not in bodies:
            schema.setdefault("additionalProperties", False)
    return document


def _request_media(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        for operation in item.values():
            yield from operation.get("requestBody", {"content": {}})["content"].values()
