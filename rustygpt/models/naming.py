"""Whether a file may have a name: no other model answers to it, here or at another provider, so that a name never changes whom it means."""

from typing import TYPE_CHECKING

from rustygpt.models.failure import ModelFailure
from rustygpt.models.folder import Folder
from rustygpt.models.part_file import in_thread

if TYPE_CHECKING:
    from rustygpt.models.shelf import Shelf


async def require_free(shelf: "Shelf", folder: Folder, name: str) -> None:
    """Raise ModelFailure `name_taken` when a file of the folder, or another provider's model, has *name*; takes seconds at worst."""
    await in_thread(folder.require_new, name)
    owner = await shelf.find_namesake(name)
    if owner is not None:
        raise ModelFailure("name_taken", f"A model of {owner} is called {name}. Give the file another name.")
