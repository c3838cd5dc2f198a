"""API keys: one per role, each sent only to the host it was given for."""

import os
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from sirl.config import EvaluationSettings
from sirl.errors import ConfigError

__all__ = ["DEFAULT", "NO_KEY", "Asker", "key_variable"]

Asker = Literal["target", "judge", "attacker"]
"""Role of an endpoint."""
DEFAULT = "OPENAI_API_KEY"
NO_KEY = "none"
SETTINGS: Mapping[Asker, str] = {
    "target": "key_from_env",
    "judge": "judge_key_from_env",
    "attacker": "attacker_key_from_env",
}
ADDRESS = re.compile(r"https?://[^\s,+#]+")


def key_variable(role: Asker, config: EvaluationSettings) -> str:
    """The environment variable with the key of a role's endpoint; empty if no key is sent.

    A role without a named variable uses the target's variable if both endpoints are at the same
    host, otherwise `OPENAI_API_KEY` if that goes to one host only.

    Raises:
        ConfigError: A named variable is not set, or a key would go to two hosts.
    """
    named: str | None = getattr(config, SETTINGS[role])
    hosts = hosts_of(config)
    if named in ("", NO_KEY):
        return ""
    if named is not None:
        if len(hosts[role]) > 1:
            raise two_hosts(named, {h: role for h in hosts[role]}, "use endpoints at one host")
        if not os.environ.get(named, "").strip():
            raise ConfigError(f"{SETTINGS[role]} names {named}, which is not set: export it")
        return named
    if config.key_from_env is not None and hosts[role] and hosts[role] <= hosts["target"]:
        return key_variable("target", config)
    unnamed = [r for r in SETTINGS if getattr(config, SETTINGS[r]) is None]
    claimed = [r for r in SETTINGS if getattr(config, SETTINGS[r]) == DEFAULT]
    if not os.environ.get(DEFAULT, "").strip():
        return DEFAULT  # no key is sent; error messages name this variable
    if any(hosts[r] - hosts[role] for r in claimed):
        return ""
    places: dict[str, Asker] = {host: r for r in reversed(unnamed) for host in hosts[r]}
    if len(places) > 1:
        roles = set(places.values())
        ways = " and ".join(f"--set {name}=NAME" for r, name in SETTINGS.items() if r in roles)
        raise two_hosts(DEFAULT, places, f"name a variable for each with {ways} (none sends none)")
    return DEFAULT


def two_hosts(variable: str, places: Mapping[str, Asker], way_out: str) -> ConfigError:
    """The error for a key that would go to more than one host."""
    listed = ", ".join(f"{role} {host}" for host, role in sorted(places.items()))
    return ConfigError(f"the key in {variable} would go to two hosts ({listed}): {way_out}")


def hosts_of(config: EvaluationSettings) -> dict[Asker, set[str]]:
    """The hosts of a configuration's endpoints, by role."""
    texts: dict[Asker, str] = {
        "target": config.model,
        "judge": config.judge,
        "attacker": config.attacker,
    }
    return {role: {origin(url) for url in ADDRESS.findall(text)} for role, text in texts.items()}


def origin(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
