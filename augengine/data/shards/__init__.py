"""Webdataset's tars by index, local or through fsspec, and an order for them that a small cache suffices for."""

from augengine.data.shards.sampler import ShardSampler
from augengine.data.shards.shards import Shards

__all__ = ["ShardSampler", "Shards"]
