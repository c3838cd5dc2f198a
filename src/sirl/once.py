"""Reads YAML whose mappings hold each key once; YAML itself would keep the last."""

from typing import Any

import yaml

__all__ = ["yaml_in"]


class OnceEach(yaml.SafeLoader):
    """A loader that refuses a key that appears twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping.

        Raises:
            ConstructorError: A key appears twice.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                said = f"the key {name} appears twice"
                raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
            seen.add(name)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def yaml_in(text: str) -> Any:  # noqa: ANN401 - any YAML value
    """The value in a text.

    >>> yaml_in("seed: 1")
    {'seed': 1}

    Raises:
        YAMLError: It is not YAML, or a mapping holds a key twice.
    """
    return yaml.load(text, OnceEach)
