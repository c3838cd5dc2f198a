"""Scores prompts and answers of other models: OpenAI's moderations, LiteLLM's guardrail."""

import math
import secrets
from collections.abc import Sequence
from typing import Any

from sirl.guard.server.faults import ApiError
from sirl.guard.server.guardrail_requests import GuardrailRequest, Turn
from sirl.guard.server.orders import conversation, refused
from sirl.guard.server.policy import Rule
from sirl.guard.server.requests import ModerationRequest, Said, TextPart
from sirl.guard.server.service import Service
from sirl.guard.server.source import AskError, Scored
from sirl.guard.server.throttle import Asker, account_verdict
from sirl.types import Message

__all__ = ["guardrail", "moderate"]

BLOCKED = "the guard's score of this text is above its threshold"


def rule_of(service: Service) -> Rule:
    """The rule of a server that has a guard.

    Raises:
        ApiError: It has none.
    """
    if service.policy.rule is None:
        raise ApiError(503, "this server has no guard: start it with --guard DIR", code="no_guard")
    return service.policy.rule


Conversation = tuple[Message, ...]


async def scored(
    service: Service, asker: Asker, id: str, asked: Sequence[Conversation], param: str
) -> list[tuple[Scored, bool]]:
    """What is found in each conversation, and whether it is an alarm, which is counted.

    Raises:
        AskError: One cannot be scored; `param` is the field that it came in.
    """
    found: list[Scored] = []
    flagged: list[bool] = []
    try:
        async with service.gate.admitted(1):
            for messages in asked:
                found.append(await service.source.judge(messages, service.limits))
    except AskError as error:
        raise AskError(str(error), param, error.code) from error
    finally:
        for messages, own in zip(asked, found, strict=False):  # fewer, if one cannot be scored
            flagged.append(await account_verdict(service, id, asker, messages, own))
    return list(zip(found, flagged, strict=True))


async def moderate(service: Service, request: ModerationRequest, asker: Asker) -> dict[str, Any]:
    """The reply of /v1/moderations.

    Raises:
        ApiError: The request exceeds a bound, or the server has no guard.
    """
    rule = rule_of(service)
    given, limits = request.input, service.limits
    items = [given] if isinstance(given, str) else given
    said = [item for item in items if isinstance(item, Said)]
    texts = [item for item in items if isinstance(item, str)]
    if parts := [item.text for item in items if isinstance(item, TextPart)]:
        texts = ["\n".join(parts)]
    if len(texts) > limits.inputs:
        raise refused(f"{len(texts)} inputs are more than {limits.inputs}", "input")
    asked = [conversation(said, limits, "input")] if said else by_themselves(texts)
    id = f"modr-{secrets.token_hex(12)}"
    found = await scored(service, asker, id, asked, "input")
    return {
        "id": id,
        "model": service.source.name,
        "results": [result(*own, rule, details=limits.details) for own in found],
    }


def by_themselves(texts: Sequence[str]) -> list[Conversation]:
    """Each text as the prompt of a user."""
    return [(Message("user", text),) for text in texts]


def result(found: Scored, flagged: bool, rule: Rule, *, details: bool) -> dict[str, Any]:
    """One result of a moderation; without details, its score is 0 or 1."""
    score = found.score
    own: dict[str, Any] = {"partial": True} if found.partial else {}
    shown: dict[str, Any] = {
        "flagged": flagged,
        "categories": {"unsafe": flagged},
        "category_scores": {"unsafe": float(flagged)},
    }
    if details:
        shown["category_scores"] = {"unsafe": 1 / (1 + math.exp(-max(-500.0, min(500.0, score))))}
        own |= {"score": score, "threshold": rule.threshold}
    if own:
        shown["sirl_guard"] = own
    return shown


async def guardrail(service: Service, request: GuardrailRequest, asker: Asker) -> dict[str, Any]:
    """The reply of LiteLLM's generic guardrail: NONE or BLOCKED.

    Raises:
        ApiError: The request exceeds a bound, or the server has no guard.
    """
    rule_of(service)
    limits, param = service.limits, "structured_messages" if request.turns else "texts"
    if len(request.turns) > limits.messages:
        raise refused(
            f"{len(request.turns)} messages are more than {limits.messages}", "structured_messages"
        )
    asked = conversations(request)
    if len(asked) > limits.messages:
        raise refused(f"{len(asked)} texts to score are more than {limits.messages}", "texts")
    id = f"guardrail-{secrets.token_hex(12)}"
    found = await scored(service, asker, id, asked, param)
    if any(flagged for _, flagged in found):
        return {"action": "BLOCKED", "blocked_reason": BLOCKED}
    return {"action": "NONE"}


def conversations(request: GuardrailRequest) -> list[Conversation]:
    """The conversations to score, so that no text is left out.

    Of a request: its messages, and each text that is in none of them. Of a response: each text and
    each final assistant message after the other messages, or after an empty prompt.
    """
    turns = list(request.turns)
    if request.input_type == "request":
        whole = [tuple(turn.message for turn in turns)] if turns else []
        return whole + by_themselves(unread(request.said, turns))
    ends: list[Turn] = []
    while turns and turns[-1].role == "assistant":
        ends.append(turns.pop())
    asked = tuple(turn.message for turn in turns) or (Message("user", ""),)
    answers = dict.fromkeys([*request.said, *(text for turn in ends for text in turn.texts)])
    return [(*asked, Message("assistant", text)) for text in answers]


def unread(texts: Sequence[str], turns: Sequence[Turn]) -> list[str]:
    """The texts that are not in these messages."""
    known = {text for turn in turns for text in turn.texts}
    return [text for text in texts if text not in known]
