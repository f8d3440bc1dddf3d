"""A Ray cluster on this machine: `python ray_nodes.py CPUS ...`, a node for each number, the first of them the head.

Prints its address and the process ids of each node as JSON, and ends the cluster when its standard input ends.
"""

import json
import sys

from ray.cluster_utils import Cluster


def pids(node):
    return [info.process.pid for infos in node.all_processes.values() for info in infos]


if __name__ == "__main__":
    head, *others = map(int, sys.argv[1:])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head})
    nodes = [cluster.head_node, *(cluster.add_node(num_cpus=cpus) for cpus in others)]
    print(json.dumps({"address": cluster.address, "nodes": [pids(node) for node in nodes]}), flush=True)
    sys.stdin.read()
    cluster.shutdown()
