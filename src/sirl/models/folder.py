"""Facts about a checkpoint folder, read without torch."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from sirl.errors import ModelError
from sirl.runs.disk import step_of

__all__ = [
    "EMBEDDED_PATH",
    "MANIFEST",
    "adapter_base",
    "changed_file",
    "check_unchanged",
    "document",
    "hash_of_file",
    "hash_of_files",
    "inside",
    "is_adapter",
    "is_hardened",
    "perhaps_embedded",
]

EMBEDDED_PATH = Path(__file__).parent / "world-chat"
"""The embedded model inside the package; `sirl world build` makes it."""
ADAPTER = "adapter_config.json"
READ = {".safetensors", ".json", ".jinja", ".model", ".txt"}
"""Suffixes of the files that loading reads."""
MANIFEST = "manifest.json"
"""Marks a checkpoint that sirl wrote."""


def perhaps_embedded(where: str) -> str:
    """A question if a name is nearly that of the embedded model; else empty."""
    near = get_close_matches(where, ["embedded"], cutoff=0.8)
    return "did you mean embedded? Else " if near else ""


def document(path: Path) -> dict[str, Any]:
    """Read a JSON object of the folder.

    Raises:
        ModelError: The file is damaged or holds something else.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON: restore the checkpoint") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} is not a JSON object: restore the checkpoint")
    return found


def is_adapter(folder: Path) -> bool:
    """Whether the folder is a LoRA adapter, which needs its base model underneath."""
    return (folder / ADAPTER).is_file()


def is_hardened(model: str) -> bool:
    """Whether a model is a checkpoint that `sirl train` wrote."""
    return (Path(model) / MANIFEST).is_file()


def adapter_base(folder: Path) -> str:
    """The base model of an adapter, by its config.

    Raises:
        ModelError: It does not name one.
    """
    base = document(folder / ADAPTER).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(f"{folder / ADAPTER} does not name its base_model_name_or_path")
    return base


def hash_of_files(model: str) -> str:
    """SHA-256 of the files of a local model, an adapter's base included, without loading it.

    Of a model on the hub, it is the commit that is used.

    Raises:
        ModelError: It is an adapter that names no base.
    """
    folder = EMBEDDED_PATH if model == "embedded" else Path(model)
    if not folder.is_dir():
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - slow, and rarely needed

        return Path(hf_hub_download(model, "config.json")).parent.name
    digest = sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in READ):
        digest.update(f"{path.name} {hash_of_file(path)}\n".encode())
    if is_adapter(folder):
        digest.update(hash_of_files(adapter_base(folder)).encode())
    return digest.hexdigest()


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def changed_file(folder: Path, listing: Mapping[str, Any]) -> str:
    """What is wrong with the first file that is missing or has another hash; empty if none is."""
    for name, expected in listing.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if hash_of_file(folder / name) != expected:
            return f"{name} is not what was written"
    return ""


def check_unchanged(folder: Path) -> None:
    """Check the files that loading reads against the manifest of a checkpoint that sirl wrote.

    The base of an adapter is checked, too.

    Raises:
        ModelError: A file is missing or has changed, or the manifest is damaged.
    """
    if is_adapter(folder):
        check_unchanged(Path(adapter_base(folder)))
    if not is_hardened(str(folder)):
        return
    listing = document(folder / MANIFEST).get("sha256", {})  # other tools have manifests, too
    if not isinstance(listing, dict):
        raise ModelError(f"{folder / MANIFEST} lists no files: restore the checkpoint")
    read = {name: listing[name] for name in listing if name == Path(name).name}
    if fault := changed_file(folder, {n: h for n, h in read.items() if Path(n).suffix in READ}):
        raise ModelError(
            f"{folder} has changed since sirl wrote it: {fault}; restore the checkpoint, or remove "
            f"{folder / MANIFEST} if the change is intended"
        )


def inside(folder: Path) -> str:
    """A hint for error messages: the checkpoints in a run folder; empty if there are none."""
    places = [p for p in (folder / "checkpoints", folder) if p.is_dir()]
    found = [c for place in places for c in place.glob("step-*") if has_model(c)]
    if not found:
        return ""
    listed = ", ".join(str(c) for c in sorted(found, key=lambda c: (step_of(c), c)))
    return f"; it is a run folder, give one of its checkpoints: {listed}"


def has_model(folder: Path) -> bool:
    """Whether a folder holds a model or an adapter."""
    return (folder / "config.json").is_file() or is_adapter(folder)
