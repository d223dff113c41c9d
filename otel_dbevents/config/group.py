"""A group of settings: a part of `Config`, never made by itself."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class Group(BaseSettings):
    """What a group's fields are declared in. Pydantic builds a validator for `Config` alone."""

    model_config = SettingsConfigDict(defer_build=True)
