"""Damaged images through every decoder."""

from fuzz_images import failures, fuzz

from soak import soak

COUNT = 10_000


@soak
def damaged_jpegs():
    """10,000 damaged JPEGs: no crash, no hang, no leak, no pixel but Pillow's."""
    fuzz_and_tell("jpeg")


@soak
def damaged_pngs():
    """10,000 damaged PNGs: no crash, no hang, no leak, no pixel but Pillow's."""
    fuzz_and_tell("png")


def fuzz_and_tell(kind):
    found = fuzz(kind, 0, COUNT, lambda line: line.endswith(b"000") and print(f"  {line.decode()}", flush=True))
    for verdict, numbers in sorted(found["verdicts"].items()):
        print(f"  {verdict}: {len(numbers)} files, {numbers[:5]} ...")
    print(f"  memory: {found['memory_mib'][0]} to {found['memory_mib'][-1]} MiB")
    assert not failures(found), failures(found)
