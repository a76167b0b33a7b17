"""The edge to this machine's devices, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping

from tritium.pipeline.plan import Survey
from tritium.pipeline.spec import Pipeline
from tritium_discovery import HostId, Inventory, Settings, claims, discover, holds, state_directory

__all__ = ["look", "survey"]


def look(pipeline: Pipeline, *, environ: Mapping[str, str]) -> Survey:
    """Survey the devices; a pipeline that computes on the CPU alone needs no driver and no device.

    Raises:
        DiscoveryError: the devices cannot be read; each cause is a class of its own.
    """
    if pipeline.train.gpu.per_rank == 0 and pipeline.infer is None:
        nothing = Inventory(host=HostId("localhost"), hostname="localhost", origin="sysfs")
        return Survey(inventory=nothing, taken={})
    return survey(environ)


def survey(environ: Mapping[str, str]) -> Survey:
    """Survey the devices, and who claims or holds which.

    Raises:
        DiscoveryError: the devices cannot be read; each cause is a class of its own.
    """
    settings = Settings.from_env(environ)
    inventory = discover(settings)
    directory = state_directory(settings)
    claimed = claims.described(claims.live(directory))
    held = {uuid: holds.described(having) for uuid, having in holds.held(directory).items()}
    return Survey(inventory=inventory, taken={**claimed, **held})
