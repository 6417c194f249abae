"""Puts the JSON API into the application: every module of `v1/` that offers a `router`, under /api/v1."""

import importlib
import pkgutil

from fastapi import APIRouter, FastAPI

from cloud_api.api import v1


def install(app: FastAPI) -> None:
    """Add every router; it is documented at /docs."""
    for found in sorted(pkgutil.iter_modules(v1.__path__, f"{v1.__name__}."), key=lambda m: m.name):
        router = getattr(importlib.import_module(found.name), "router", None)
        if isinstance(router, APIRouter):
            app.include_router(router, prefix="/api/v1")
