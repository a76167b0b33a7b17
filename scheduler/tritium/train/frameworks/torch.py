"""torch.distributed, and what builds on it (Lightning, accelerate): torchrun's variables."""

from __future__ import annotations

from collections.abc import Mapping

from tritium.train.contract import Contract

__all__ = ["environment"]


def environment(contract: Contract) -> Mapping[str, str]:
    """Give a rank the variables of ``torchrun`` (https://docs.pytorch.org/docs/stable/elastic/run.html).

    Each rank sees all devices of the gang in its locality, so that peers reach each other over NVLink
    and ``torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))`` picks its own first device.
    """
    host, port = contract.master
    return {
        "RANK": str(contract.rank),
        "WORLD_SIZE": str(contract.size),
        "LOCAL_RANK": str(contract.local_rank),
        "LOCAL_WORLD_SIZE": str(contract.local_size),
        "GROUP_RANK": str(contract.group_rank),
        "NODE_RANK": str(contract.group_rank),
        "GROUP_WORLD_SIZE": str(contract.groups),
        "ROLE_RANK": str(contract.rank),
        "ROLE_WORLD_SIZE": str(contract.size),
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": f"{contract.attempt.gang}-{contract.attempt.number}",
        "CUDA_VISIBLE_DEVICES": ",".join(contract.visible),
    }
