"""Messages of the Docker Volume Plugin API; unknown fields are ignored, the protocol is not ours.

Source: moby `daemon/volume/drivers/proxy.go`; Podman `libpod/plugin/volume_api.go`.
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class PluginMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


# Docker's CLI sends null for no options; Podman leaves the key out.
Opts = Annotated[dict[str, str], BeforeValidator(lambda value: {} if value is None else value)]


class CreateRequest(PluginMessage):
    name: str = Field(alias="Name")
    opts: Opts = Field(default_factory=dict, alias="Opts")


class NameRequest(PluginMessage):
    """Get, Path, Remove."""

    name: str = Field(alias="Name")


class MountRequest(PluginMessage):
    """Mount, Unmount. `id` is 64 hex digits, made by the engine for a container's mount.

    Calls that are made by hand have none, or an empty one: "".
    """

    name: str = Field(alias="Name")
    id: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)] = Field(
        "", alias="ID", max_length=256
    )
