"""The append-only log of alarms: always a hash of the prompt, text only if `log_text` is set."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sirl.guard.server.policy import Policy
from sirl.guard.server.watching import Finding
from sirl.runs.disk import DISK, cut_torn_line, disk_errors, opened, plain
from sirl.types import Message

__all__ = ["ALARMS", "AlarmLog", "prompt_hash"]

ALARMS = "alarms.jsonl"


def prompt_hash(messages: Sequence[Message]) -> str:
    """SHA-256 of a conversation."""
    turns = json.dumps([[m.role, m.content] for m in messages])
    return hashlib.sha256(turns.encode()).hexdigest()


class AlarmLog:
    """Writes alarms and failed checks to a file of its owner alone.

    Args:
        folder: Where; it is made if it is not there.
        log_text: Whether prompts and answers are written too.

    Raises:
        RunError: The folder cannot be written, or another process writes there.
    """

    def __init__(self, folder: Path, *, log_text: bool) -> None:
        self.path = folder / ALARMS
        self.log_text = log_text
        with disk_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = opened(self.path, "ab", private=True)
            try:
                DISK.lock(self._file.fileno(), self.path)
                cut_torn_line(self.path)
            except BaseException:
                self._file.close()
                raise

    def note(
        self, id: str, caller: str, messages: Sequence[Message], text: str, found: Finding,
        policy: Policy, mode: str | None = None,
    ) -> None:  # fmt: skip
        """Append an alarm or a failed check; `mode` is that of the policy without another."""
        row: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": id,
            "caller": caller,
            "prompt_sha256": prompt_hash(messages),
            "mode": mode or policy.mode,
            "action": found.action,
            "position": found.position,
            "score": found.score,
            "threshold": policy.rule.threshold if policy.rule else None,
            "fault": found.fault,
        }
        if self.log_text:
            row["messages"] = [{"role": m.role, "content": m.content} for m in messages]
            row["answer"] = text
        with disk_errors(self.path):
            self._file.write(json.dumps(plain(row)).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file.

        Raises:
            RunError: What was not written yet cannot be written.
        """
        with disk_errors(self.path):
            self._file.close()
