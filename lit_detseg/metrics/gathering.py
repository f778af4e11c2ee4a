"""What every rank holds, on every rank: two collectives, whatever its size."""

import io

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether there is anybody to gather from."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_arrays(
    arrays: dict[str, np.ndarray], group: dist.ProcessGroup | None = None
) -> list[dict[str, np.ndarray]]:
    """The named arrays of all ranks, in the order of the ranks.

    Lengths may differ between ranks, and be 0. All arrays travel as one buffer of bytes: one
    collective for its length and one for its content.

    Args:
        arrays: of any plain dtype (numbers, booleans, strings).
        group: the ranks that take part; all of them when None.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return [dict(np.load(io.BytesIO(content))) for content in _gather_bytes(buffer, group)]


def _gather_bytes(buffer: io.BytesIO, group: dist.ProcessGroup | None) -> list[bytes]:
    device = _device_of(group)
    content = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
    length = torch.tensor([len(content)], device=device)
    lengths = torch.cat(_all_gather(length, group)).tolist()
    # All ranks send as many bytes as the longest has: collectives want equal shapes.
    padded = torch.zeros(max(lengths), dtype=torch.uint8, device=device)
    padded[: len(content)] = content.to(device)
    received = _all_gather(padded, group)
    return [
        part[:length].cpu().numpy().tobytes()
        for part, length in zip(received, lengths, strict=True)
    ]


def _all_gather(tensor: Tensor, group: dist.ProcessGroup | None) -> list[Tensor]:
    received = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
    dist.all_gather(received, tensor, group=group)
    return received


def _device_of(group: dist.ProcessGroup | None) -> torch.device:
    """The CPU where the group can talk from there (gloo), otherwise this rank's accelerator."""
    if "cpu:" in dist.get_backend_config(group):
        return torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None, "a process group without a backend for any device"
    return torch.device(accelerator.type, torch.accelerator.current_device_index())
