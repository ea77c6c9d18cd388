"""Options of commands: a server that answers the same questions, as one more condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lantern_probe.errors import LanternError

if TYPE_CHECKING:
    from lantern_probe.serving.endpoint import Endpoint


@dataclass(frozen=True)
class EndpointOptions:
    """A server with an OpenAI-compatible endpoint, asked beside the local conditions."""

    endpoint: str | None = None
    """Address of a server, such as http://127.0.0.1:8000/v1, that answers every question too; by
    default none. --model names the checkpoint whose processor makes the inputs."""
    served_model: str | None = None
    """Name under which the server knows the model; its rows have the condition served:NAME."""
    concurrency: int = 8
    """Most requests to the server at any time."""
    timeout: float = 120.0
    """Most seconds of one request to the server."""
    tries: int = 4
    """Most requests for one question, where a failure may pass."""
    patience: float = 600.0
    """Seconds after which a question is not asked again."""
    allow_prompt_mismatch: bool = False
    """Go on if the server counts another number of tokens in the prompt; every table says so."""
    api_key_variable: str = "LANTERN_API_KEY"
    """Environment variable with the server's key, if it wants one. The key is never recorded."""
    api_key_file: Path | None = None
    """File with the server's key, in place of the variable."""

    def check_endpoint(self, models: Sequence[str]) -> None:
        """Refuse an endpoint that cannot be asked, without connecting to it.

        Args:
            models: Models of the command.

        Raises:
            LanternError: naming the flag.
        """
        if self.endpoint is None:
            if self.served_model is not None or self.allow_prompt_mismatch or self.api_key_file:
                raise LanternError(
                    "--served-model and the other options of a server are about --endpoint; give "
                    "it too"
                )
            return
        if self.served_model is None:
            raise LanternError("--endpoint needs --served-model, the server's name for the model")
        if len(models) != 1:
            raise LanternError(
                f"--endpoint serves one model: give the one --model it was started with, whose "
                f"processor makes the inputs, not {len(models)}"
            )
        if getattr(self, "temperature", None) or getattr(self, "passes", 1) > 1:
            raise LanternError(
                "--endpoint is asked for greedy texts; leave out --temperature and --passes"
            )
        if getattr(self, "ray", None) or getattr(self, "division", None):
            raise LanternError(
                "--endpoint is asked by one process; leave out --shard and --ray, and give "
                "--concurrency for more questions at a time"
            )
        self.served()

    def served(self) -> Endpoint:
        """The endpoint with its limits and its key.

        Raises:
            LanternError: naming the flag that cannot be used.
        """
        from lantern_probe.serving.endpoint import Endpoint, read_key

        assert self.endpoint is not None and self.served_model is not None
        return Endpoint(
            self.endpoint,
            self.served_model,
            self.concurrency,
            self.timeout,
            self.tries,
            self.patience,
            key=read_key(self.api_key_variable, self.api_key_file),
        )


def endpoint_of(config: Any) -> Endpoint | None:
    """The endpoint of a command's options; None where none was given, or nothing is run.

    Args:
        config: Options of any command.
    """
    if not isinstance(config, EndpointOptions) or config.endpoint is None:
        return None
    return config.served()
