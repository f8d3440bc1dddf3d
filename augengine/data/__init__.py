"""Data: folders of photos, decoders that read the region a crop needs, and the `DataLoader` that feeds the engine."""

from augengine.data.dali_batches import DaliBatches, wrap_dali
from augengine.data.decoders.decode import DECODERS
from augengine.data.folder import EXTENSIONS, ImageFolder
from augengine.data.loader import DataLoader
from augengine.data.shards import Shards
from augengine.data.shards.sampler import ShardSampler
from augengine.data.stats import LoaderStats

__all__ = [
    "DECODERS",
    "EXTENSIONS",
    "DaliBatches",
    "DataLoader",
    "ImageFolder",
    "LoaderStats",
    "ShardSampler",
    "Shards",
    "wrap_dali",
]
