"""A group of settings: a part of `Config`, never made by itself."""

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """What a group's fields are declared in. Pydantic builds a validator for `Config` alone."""

    model_config = ConfigDict(defer_build=True)
