"""What all values of ours have in common."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value of ours: immutable, and an unknown field in it is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        defer_build=True,  # most are of rare verbs, which a daemon at rest has not come across
    )
