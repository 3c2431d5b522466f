"""An action that does nothing, as the peer's task does, for `bench.steps` alone: registered when this module is imported."""

from dataclasses import dataclass

from nodeagent.action import Action, Result, actions
from nodeagent.host import Call, Host

NAME = "rest"


@dataclass(frozen=True, kw_only=True)
class Request:
    instance: str


def run(request: Request, host: Host, call: Call) -> Result:
    return Result(change="unchanged")


actions()[NAME] = Action(name=NAME, version=1, request=Request, run=run)  # type: ignore[index]
