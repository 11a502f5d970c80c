"""`rustygpt openapi`: the API's description without a server, the same that a server of this version answers."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

AsYaml = Annotated[bool, typer.Option("--yaml", help="Print YAML instead of JSON.")]


def openapi(as_yaml: AsYaml = False) -> None:
    """Print the description of the HTTP API (OpenAPI 3.1), for those who generate clients.

    It needs neither a database nor a server, and reads no settings.

    For instance:

        rustygpt openapi > openapi.json
        rustygpt openapi --yaml | less
    """
    from rustygpt.http.openapi_routes import encode_as_json, encode_as_yaml

    document = read_document()
    typer.echo((encode_as_yaml if as_yaml else encode_as_json)(document), nl=False)


def read_document() -> dict[str, object]:
    """Return the document that a server with the default settings answers."""
    from rustygpt import __version__
    from rustygpt.app import create_app, routes_of
    from rustygpt.http.openapi import build_document
    from rustygpt.settings import Settings

    with tempfile.TemporaryDirectory() as folder:  # an application needs a place for its secret; this one is never opened
        application = create_app(Settings(data_dir=Path(folder)), "postgres:///")
        return build_document(routes_of(application), version=__version__)
