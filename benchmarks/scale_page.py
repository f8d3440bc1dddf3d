"""docs/scale.md, from the results of `benchmarks.scale` alone."""

from collections.abc import Iterator

from benchmarks.scale_model import Report, checks, constants, needs
from benchmarks.scale_report import TRAININGS, amount, checked, modelled, series_table

FAR = 0.25  # a prediction that is further off is named
S3_REQUESTS = 5500  # a second and prefix


def page(report: Report, name: str) -> str:
    """The page, of the results in the file of that name."""
    about, used = report["machine"], report["settings"]
    cases = {case: section(told) for case, told in report["cases"].items() if told["series"]}
    load = f"{about['load']} at the start" + (f", {about['load_after']} at the end" if "load_after" in about else "")
    opening = {"name": name, "cores": about["cores"], "cpu": about["cpu"], "load": load}
    parts = [
        OPENING.format(rounds=used["rounds"], **opening),
        *("## Image folders", cases.pop("folder"), cases.pop("folder-workers")),
        *("## Shards", cases.pop("shards"), cases.pop("shards-full")),
        *("## Ranks, nodes, cores", *cases.values(), "\n".join(state_notes(report))),
        *(CHECKED, checked(report), off_by_much(report)),
        *(MODELLED, modelled(report), ASSUMED),
        *(LIMITS.format(**figures(report)), LARGER),
    ]
    return "\n\n".join(parts) + "\n"


def section(case: dict[str, str]) -> str:
    about = case["about"]
    return f"{about[0].upper()}{about[1:]}:\n\n{series_table(case)}"


def state_notes(report: Report) -> Iterator[str]:
    for case in ("folder-ranks", "shards-ranks"):
        told = report["cases"][case]
        yield f"- {told['about'].partition(', by ranks')[0]}: {'; '.join(told['notes'])}."


def off_by_much(report: Report) -> str:
    """Which predictions are further off than a quarter."""
    far = [check for check in checks(report) if abs(check.off) > FAR]
    said = "; ".join(f"{check.about.replace('_', ' ')}, {check.off:+.0%}" for check in far)
    return f"Further off than a quarter: {said}." if far else "None is further off than a quarter."


def figures(report: Report) -> dict[str, str]:
    """What the text on limits has in its places."""
    found = constants(report)
    small, wide, _, large = (needs(training, found) for training in TRAININGS)
    return {
        "pace": f"{TRAININGS[0].images_per_rank:,.0f}",
        "cores": amount(small["cores a rank"], ""),
        "cores_node": amount(small["cores a node"], ""),
        "has": str(TRAININGS[0].cores_a_node),
        "file_bytes": f"{found.folder['index_bytes'].each[0]:.0f}",
        "sample_bytes": f"{found.shards['index_bytes'].each[1]:.0f}",
        "folder_node": amount(small["folder index a node"], "B"),
        "folder_large": amount(large["folder index a node"], "B"),
        "shards_large": amount(large["shards index a node"], "B"),
        "list_bytes": amount(large["folder epoch a rank"], "B"),
        "list_seconds": amount(large["folder first batch"], "s"),
        "order_bytes": amount(large["shards epoch a rank"], "B"),
        "order_seconds": amount(large["shards first batch"], "s"),
        "entries": amount(wide["folder entries read"], ""),
        "index_files": amount(wide["shards index files"], ""),
        "first": amount(wide["shards first index"], "s"),
        "first_large": amount(large["shards first index"], "s"),
        "nodes": f"{wide['nodes']:.0f}",
        "remote": amount(wide["remote bytes an epoch"], "B"),
        "data": amount(wide["data"], "B"),
        "data_large": amount(large["data"], "B"),
        "remote_pace": amount(wide["remote bytes"], "B/s"),
        "read": amount(wide["bytes read"], "B/s"),
        "requests": amount(wide["images"], ""),
        "prefixes": f"{wide['images'] / S3_REQUESTS:,.0f}",
        "state": amount(small["state"], "B"),
    }


OPENING = """# The loader at scale

Written by `python -m benchmarks.scale --write-docs` from `benchmarks/results/{name}`; edit that command, not this.

How a million files, 10,000 shards and many ranks weigh on [the loader](loader.md): what was measured on a machine of
{cores} cores ({cpu}, load {load}), and from that what trainings need which it can't hold.

- Every figure is of a process of its own. Seconds and paces are medians of {rounds} rounds; memory, the first index and
  the first state are measured once.
- Image folders are hard links to a file a class, and shards are links to 16 tars, all in the page cache: storage has no
  part in the seconds. On a network each open, listing and read is a request more, which the model counts and does not
  time.
- The pace is that of JPEGs of 64x48 to 32x32, which are cheap to decode: what a large set costs a sample would show.
- "Memory" is what no file has and no other process; "memory of all processes" is of the loader's process and its
  workers, what they share counted once, and most of it is torch itself.
- A resume is of a state in the middle of an epoch, to the batch behind it.
- torchvision is its ImageFolder in torch's DataLoader with as many workers. webdataset, in one process, has no index
  and no place to go on at, and begins with what comes first. Both crop and flip alike."""
CHECKED = """## The model, checked

A figure is `fixed + each file`, or `fixed + each shard + each sample`, fitted to the sizes below the largest. Of ranks,
it says that each is as one alone, and that those which outnumber the cores take turns. Here is what it says of sizes
and ranks that it has not seen, and what they were. What it leaves out: a process that adds little takes it from memory
that it has already, so small sizes tell little of what a large one adds; a rank is more than one thread; and caches of
the processor, which small indices fit and large ones don't."""
MODELLED = """## What 8 and 1,000 ranks need

The same sums, fitted to all sizes. Seconds are of this machine's cores, with no time of storage. 100 million images are
a hundred times what was measured: take those columns for orders of magnitude."""
ASSUMED = """Assumed:

- 2,470 images/s a GPU: ResNet-50 v1.5 in mixed precision on an A100, as in [NVIDIA's
  table](https://github.com/NVIDIA/DeepLearningExamples/tree/master/PyTorch/Classification/ConvNets/resnet50v1.5).
  Newer GPUs and smaller networks take more; images, bytes read and cores grow alike.
- ImageNet: 1,281,167 images in the 147.9 GB of `ILSVRC2012_img_train.tar`, 115 kB each, and 1,000 of them a shard. The
  100 million images are as large, 10,000 a shard.
- A node: 8 GPUs, 128 cores, 2 TB of memory, as a [DGX A100](https://docs.nvidia.com/dgx/dgxa100-user-guide/) has. A
  core decodes as one of those measured here, and all of them do so at once. Of all figures, decoding is what other work
  on the machine slows most: read the cores with the load above.
- A photo's file is read whole, in one read; only its decoding stops at the crop's region.
- Amazon S3 serves [5,500 GETs a second and
  prefix](https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html)."""
LIMITS = """## What limits

- **Decoding.** A rank of {pace} images/s keeps {cores} cores busy, the 8 of a node {cores_node} of {has}. With fewer a
  GPU waits, however fast storage is.
- **Memory of the index.** An image folder is Python's own objects, {file_bytes} bytes a file and rank: {folder_node} a
  node for ImageNet, {folder_large} for 100 million images. The index of shards is arrays, {sample_bytes} bytes a
  sample, and ranks of a node don't share it either: {shards_large} a node for 100 million.
- **The order.** torch's DistributedSampler makes the whole order a list on each rank: {list_bytes} and {list_seconds}
  to the first batch for 100 million images. With ShardSampler it is {order_bytes} and {order_seconds} for one rank of
  one; what it hands out is a list, too, of a rank's own share.
- **Starting.** Every rank lists its image folder by itself: {entries} entries for ImageNet and 1,000 ranks, which a
  server of metadata must hand out. Of shards it is {index_files} small files, and none over the network with
  `cache_dir` on each node's own disk, where each node then reads all headers once.
- **The first index.** Python reads the headers: {first} for ImageNet, {first_large} for 100 million samples, once a
  cache folder. Make it ahead of the training, with a `Shards(...)` in one process, in a `cache_dir` that the ranks
  read.
- **Remote shards.** Each is fetched whole by every node, as each rank's share has samples in all of them: {nodes} nodes
  fetch {remote} for ImageNet's {data}; once, where `cache_limit` lets a node hold it all. Where it doesn't, every epoch
  does so, and 1,000 ranks would need {remote_pace}, which nothing gives.
- **Requests.** Of files one by one in an object store, 1,000 ranks would make {requests} requests/s, {prefixes} times
  what a prefix of Amazon S3 is good for. Shards of 1,000 are a thousandth of that, from each node.
- **The page cache.** ImageNet's {data} fit into what is left of a node's memory, so storage is read in the first epoch
  alone. The {data_large} of 100 million images do not.
- **The state** limits nothing: {state} whatever the data, and one rank saves it for all."""
LARGER = """So ImageNet's size is served on any number of nodes. **Several nodes on a remote set that doesn't fit on a
node's own disk is what this loader is not made for.** Put such a set on a shared file system under a local path, where
the samples' own bytes are all that is read."""
