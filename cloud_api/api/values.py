"""Kinds of values that many routes take."""

from typing import Annotated

from pydantic import Field

RowId = Annotated[int, Field(ge=1, lt=2**63)]
"""Identifier of a row; larger numbers would not fit the database."""
