"""Drives Occopus' commands as its tutorials do. Needs them in PATH; MUSTER_OCCOPUS_PROVIDER says who makes the nodes."""

import re
import subprocess

STAMP = re.compile(r"^\*\* \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\t")


def run(*words, code=0):
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == code, (words, done)
    return done.stdout


def lines(text):
    return [STAMP.sub("", line) for line in text.splitlines()]


def addresses(id, node):
    run("occopus-maintain", "-i", id, "-r", "-f", node, "-o", "addresses.txt")
    with open("addresses.txt") as file:
        return [line.split()[0] for line in file]


# Building: what is not imported is told of, and nothing is left of the attempt.
run("occopus-build", "infra.yaml", code=1)
assert run("occopus-maintain", "-l") == "No active infrastructure!\n"
assert run("occopus-import", "nodes/node_definitions.yaml") == "Successfully imported nodes: master_node, worker_node\n"
built = run("occopus-build", "infra.yaml")
id = built.splitlines()[-1]
assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id), built
assert all(STAMP.match(line) for line in built.splitlines()[:-1]), built
said = lines(built)
assert said[0] == f"Submitted infrastructure: '{id}'", said
closing = said[said.index("List of nodes/instances/addresses:") + 1:-1]
shape = [re.sub(r"[0-9a-f-]{36}|\d+\.\d+\.\d+\.\d+", "X", line) for line in closing]
assert shape == ["master:", "  X:", "    X", "worker:", "  X:", "    X", "  X:", "    X"], closing

# Looking at it.
assert run("occopus-maintain", "-l") == f"List of active infrastructure:\n{id}\n"
report = lines(run("occopus-maintain", "-i", id, "-r"))
assert report[0] == "Report list of nodes/instances/addresses:" and report[1:] == closing, report
workers = addresses(id, "work")
assert len(workers) == 2 and len(addresses(id, "")) == 3, workers

# Scaling: only a request; a pass does it, inside the bounds.
run("occopus-scale", "-i", id, "-n", "worker", "-c", "+1")
assert addresses(id, "worker") == workers
maintained = run("occopus-maintain", "-i", id)
assert f"Finished maintaining the infrastructure {id}" in maintained, maintained
assert len(addresses(id, "worker")) == 3
run("occopus-scale", "-i", id, "-n", "worker", "-s", "9")
assert "Scaling: request(s) ignored, maximum count (4) reached for node 'worker'" in run("occopus-maintain", "-i", id)
assert len(addresses(id, "worker")) == 4
run("occopus-scale", "-i", id, "-n", "worker", "-f", workers[0])
run("occopus-maintain", "-i", id, "--parallelize")
left = addresses(id, "worker")
assert len(left) == 3 and workers[0] not in left, left
run("occopus-scale", "-i", id, "-n", "worker", "-c", "-1")
run("occopus-maintain", "-i", id)
assert len(addresses(id, "worker")) == 2

# Reconfiguring: a node more, the others stay. What would cost a node its machine is refused, and changes nothing.
master = addresses(id, "master")
with open("infra.yaml") as file:
    text = file.read()
with open("infra.yaml", "w") as file:
    file.write(text.replace("min: 2", "min: 3"))
assert f"Updating infrastructure: '{id}'" in run("occopus-build", "infra.yaml", "-i", id)
assert len(addresses(id, "worker")) == 3 and addresses(id, "master") == master
with open("nodes/cloud_init.yaml") as file:
    text = file.read()
with open("nodes/cloud_init.yaml", "w") as file:
    file.write(text.replace("touch /srv/made", "touch /srv/made-anew"))
run("occopus-import", "nodes/node_definitions.yaml")
refused = run("occopus-build", "infra.yaml", "-i", id, code=1)
assert "would lose their machines: master-1" in refused, refused
# What is maintained is what was built, whatever was imported since.
run("occopus-maintain", "-i", id)
assert addresses(id, "master") == master and len(addresses(id, "worker")) == 3
run("occopus-build", "infra.yaml", "-i", id, "--replace")
assert len(addresses(id, "worker")) == 3

# The end.
destroyed = run("occopus-destroy", "-i", id)
assert f"Finished dropping infrastructure {id}" in destroyed, destroyed
assert run("occopus-maintain", "-l") == "No active infrastructure!\n"
run("occopus-destroy", "-i", id, code=1)
