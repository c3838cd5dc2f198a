"""What is installed and what it supports; works without optional packages."""

import importlib
import importlib.util
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sirl import __version__
from sirl.models.folder import EMBEDDED_PATH

__all__ = ["BESIDE", "CORE", "EXTRAS", "caches", "environment"]

CORE = (
    *("jinja2", "matplotlib", "numpy", "py3langid", "pydantic", "yaml", "rich", "scipy"),
    *("tqdm", "typer"),
)
"""Packages that every verb needs, by import name."""
EXTRAS = {
    "train": ("diptest", "jaxtyping", "peft", "safetensors", "tokenizers", "torch", "transformers"),
    "serve": ("fastapi", "httpx", "prometheus_client", "uvicorn"),
    "eval": ("safetensors", "sklearn"),
    "track": ("tensorboard", "trackio", "wandb"),
    "parquet": ("pyarrow",),
}
"""Packages by extra and import name; a test compares both lists with pyproject.toml."""
BESIDE = ("vllm", "lm_eval", "trl", "inspect_ai")
"""Optional tools, never required; used or exported to."""
DISTRIBUTION = {
    "prometheus_client": "prometheus-client",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def environment() -> dict[str, Any]:
    """Versions of Python, sirl, torch and packages; None for missing packages."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "sirl": __version__,
        "core": {name: installed(name) for name in CORE},
        "embedded_model": (EMBEDDED_PATH / "model.safetensors").is_file(),
        "extras": {
            extra: {
                "packages": {name: installed(name) for name in names},
                "add": f"pip install 'sirl[{extra}]'",
            }
            for extra, names in EXTRAS.items()
        },
        "beside": {name: installed(name) for name in BESIDE},
        "torch": torch_facts(),
    }


def installed(name: str) -> str | None:
    """The version of a package, by import name; None if it cannot be imported."""
    try:
        if importlib.util.find_spec(name) is None:
            return None
        return version(DISTRIBUTION.get(name, name))
    except PackageNotFoundError:
        return "of unknown version"
    except (ImportError, ValueError):  # blocked or half removed
        return None


def torch_facts() -> dict[str, Any] | None:
    """The capabilities of torch; None without it, `broken` with a reason if its import fails."""
    if installed("torch") is None:
        return None
    try:
        torch: Any = importlib.import_module("torch")
    except Exception as error:  # a broken library may raise anything
        first = (str(error).strip() or repr(error)).splitlines()[0]
        return {"broken": f"{first} ({type(error).__name__})"}
    from sirl.models.cpu import bfloat16_instructions

    spread = torch.distributed
    together = spread.is_available()
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cpu_bfloat16": bfloat16_instructions(),
        "gpus": gpus(torch) if torch.cuda.is_available() else [],
        "distributed": {
            "gloo": together and spread.is_gloo_available(),
            "nccl": together and spread.is_nccl_available(),
        },
    }


def gpus(torch: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a module
    """Each GPU: name, memory in bytes, native bfloat16."""
    found = []
    for n in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(n)
        bfloat16 = facts.major >= 8  # Ampere and later; older ones emulate it
        found.append({"name": facts.name, "bytes": facts.total_memory, "bfloat16": bfloat16})
    return found


def caches() -> Path:
    """The cache folder of the Hugging Face hub."""
    home = os.environ.get("HF_HOME")
    return Path(home) if home else Path.home() / ".cache" / "huggingface"
