"""Image folders and shards of many samples on little disk: hard links to a few small photos and tars."""

import io
import os
import tarfile
from pathlib import Path

from PIL import Image

FILES_A_CLASS = 1000
MASTERS = 16  # tars that the shards are links to: a file may have 65,000 on ext4
ENTRY_BYTES, BLOCK = 64, 4096
ROOM_FRAC = 1.25  # of what is reckoned


def need(files: int, shards: int, samples_a_shard: int) -> tuple[int, int]:
    """(bytes, inodes) of all trees up to these sizes, with the shards' index files."""
    entries, folders = 1.12 * files, 1.12 * files / FILES_A_CLASS + 8
    index = max(BLOCK, samples_a_shard * ENTRY_BYTES)
    blocks = entries * ENTRY_BYTES + folders * 3 * BLOCK + 1.12 * shards * (index + ENTRY_BYTES)
    blocks += shards * samples_a_shard * ENTRY_BYTES  # of the set of fuller shards
    tars = 11 * MASTERS * samples_a_shard * BLOCK  # and a set of shards that are ten times as full
    return int(ROOM_FRAC * (blocks + tars)), int(ROOM_FRAC * (2 * folders + 1.12 * shards + 1200))


def check_room(folder: Path, files: int, shards: int, samples_a_shard: int) -> None:
    """Raises OSError that says what is missing."""
    found = os.statvfs(folder)
    wanted_bytes, wanted_inodes = need(files, shards, samples_a_shard)
    free = found.f_bavail * found.f_frsize
    if free < wanted_bytes:
        raise OSError(
            f"--dir {folder}: {free / 1e6:,.0f} MB are free and {wanted_bytes / 1e6:,.0f} MB are needed; expected a "
            "folder with more room, or a smaller --files or --shards"
        )
    if found.f_files and found.f_favail < wanted_inodes:  # some file systems have no number of them
        raise OSError(
            f"--dir {folder}: {found.f_favail:,} inodes are free and {wanted_inodes:,} are needed; expected another "
            "file system, or a smaller --files or --shards"
        )


def make_folder(root: Path, files: int) -> Path:
    """An image folder of that many JPEGs of 64x48, in class folders of 1,000 that are named as ImageNet's are."""
    photo = photo_bytes()
    for k in range(-(-files // FILES_A_CLASS)):
        folder = root / f"n{k:08d}"
        folder.mkdir(parents=True)
        first = folder / f"{folder.name}_0.JPEG"
        first.write_bytes(photo)
        for i in range(1, min(FILES_A_CLASS, files - k * FILES_A_CLASS)):
            link(first, f"{folder}/{folder.name}_{i * 7919 % 99991}.JPEG")
    return root


def make_shards(root: Path, shards: int, samples: int) -> Path:
    """A folder of that many tars with so many samples each, every one a JPEG of 64x48 and its class."""
    root.mkdir(parents=True)
    masters = root.with_name(root.name + "-masters")
    masters.mkdir()
    for k in range(min(MASTERS, shards)):
        write_tar(masters / f"{k}.tar", k * samples, samples)
    for k in range(shards):
        link(masters / f"{k % MASTERS}.tar", root / f"train-{k:06d}.tar")
    return root


def write_tar(path: Path, first: int, samples: int) -> None:
    photo = photo_bytes()
    with tarfile.open(path, "w") as tar:
        for i in range(first, first + samples):
            for name, data in ((f"{i:09d}.jpg", photo), (f"{i:09d}.cls", b"%d" % (i % 1000))):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def photo_bytes() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((64, 48)).save(file, "JPEG")
    return file.getvalue()


def link(first: Path, other: str | Path) -> None:
    try:
        os.link(first, other)
    except OSError as error:
        raise OSError(f"--dir: {other} can't be a hard link: {error.strerror}; expected another file system") from error
