"""`[models]`: where model files are kept, and what may be fetched into that folder. No message here repeats a value."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from rustygpt.settings_table import HttpUrl, Seconds, Table


class ModelSettings(Table):
    """`[models]`"""

    folder: str = ""
    max_bytes: int = Field(137_438_953_472, ge=1_024, le=17_592_186_044_416)
    min_free_bytes: int = Field(1_073_741_824, ge=0, le=17_592_186_044_416)
    max_concurrent_jobs: int = Field(2, ge=1, le=32)
    max_open_jobs: int = Field(50, ge=1, le=10_000)
    connect_timeout_seconds: Seconds = 30.0
    stall_seconds: Seconds = 60.0
    retry_seconds: float = Field(300.0, ge=0, le=86_400)
    allow_private_addresses: bool = False
    hf_base_url: Annotated[HttpUrl, Field(min_length=1)] = "https://huggingface.co"
    hf_token: SecretStr = SecretStr("")

    def folder_in(self, data_dir: Path) -> Path:
        """Return the folder of model files: `folder` as it is or below *data_dir*, by default its `models`."""
        return data_dir / Path(self.folder or "models").expanduser()
