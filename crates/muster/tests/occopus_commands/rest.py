"""Drives the REST service as its manual lists it, and as MiCADO does. Needs Occopus' commands in PATH."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

with open("infra.yaml") as file:
    INFRA = file.read()


class Service:
    def __init__(self):
        words = ["occopus-rest-service", "--port", "0"]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.base = line.split("Running on ")[1].split()[0]

    def ask(self, method, path, body=None, status=200, headers={}):
        data = body.encode() if body is not None else (b"" if method == "POST" else None)
        request = urllib.request.Request(self.base + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=100) as answer:
                assert answer.status == status, (method, path, answer.status)
                return json.load(answer)
        except urllib.error.HTTPError as answer:
            assert answer.code == status, (method, path, answer.code, answer.read())
            return json.load(answer)

    def until(self, id, wanted):
        """Asks until the infrastructure is as wanted."""
        deadline = time.monotonic() + 100
        while True:
            report = self.ask("GET", f"infrastructures/{id}")
            if wanted(report):
                return report
            assert time.monotonic() < deadline, report
            time.sleep(0.1)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        said = self.process.stdout.read()
        assert self.process.wait(100) == 0, said
        return said


def ready(workers):
    def wanted(report):
        if report.keys() != {"master", "worker"}:
            return False
        instances = report["worker"]["instances"]
        return len(instances) == workers and all(i["state"] == "ready" for i in instances.values())
    return wanted


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, timeout=100, check=True).stdout


run("occopus-import", "nodes/node_definitions.yaml")
service = Service()

# Mistakes come with status 200, as programs know it.
assert service.ask("POST", "infrastructures/")["status_code"] == 400
wrong = service.ask("POST", "infrastructures/", INFRA.replace("worker_node", "other_node"))
assert wrong["status_code"] == 400 and "other_node" in wrong["reason"], wrong
executed = "infra_name: x\nnodes: !!python/object/apply:os.system ['touch executed']\n"
assert service.ask("POST", "infrastructures/", executed)["status_code"] == 400
imports = "infra_name: x\nnodes: !text_import { url: file:///etc/passwd }\n"
assert service.ask("POST", "infrastructures/", imports)["status_code"] == 400
assert service.ask("GET", "infrastructures/other")["status_code"] == 300
assert service.ask("GET", "infrastructures/") == {"infrastuctures": [], "infrastructures": []}
service.ask("GET", "infrastructures/", status=403, headers={"Origin": "http://elsewhere.example"})

# A build goes on in the background.
id = service.ask("POST", "infrastructures/", INFRA)["infraid"]
assert service.ask("GET", "infrastructures/")["infrastuctures"] == [id]
report = service.until(id, ready(2))
assert report["worker"]["scaling"] == {"actual": 2, "max": 4, "min": 2, "target": 2}, report
address = next(iter(report["worker"]["instances"].values()))["resource_address"]
assert isinstance(address, str), report
assert service.ask("POST", f"infrastructures/{id}/attach")["status_code"] == 300

# Scaling, by which the service does not wait for its next round.
assert service.ask("POST", f"infrastructures/{id}/scaleup/worker") == {
    "count": 1, "infraid": id, "method": "scaleup", "nodename": "worker"}
service.until(id, ready(3))
service.ask("POST", f"infrastructures/{id}/scaleto/worker/4")
report = service.until(id, ready(4))
chosen = list(report["worker"]["instances"])[1]
assert service.ask("POST", f"infrastructures/{id}/scaledown/worker/{chosen}")["nodeid"] == chosen
report = service.until(id, ready(3))
assert chosen not in report["worker"]["instances"], report
assert service.ask("POST", f"infrastructures/{id}/scaledown/worker")["nodeid"] is None
service.until(id, ready(2))
assert service.ask("POST", f"infrastructures/{id}/scaleup/nothing")["status_code"] == 300

# The rest.
assert service.ask("GET", f"infrastructures/{id}/cost")["totalcost"] == 0
assert service.ask("POST", f"infrastructures/{id}/notify", '{"type": "fcm"}') == {"infraid": id}
assert service.ask("GET", f"info/infrastructure.name?infra_id={id}") == {"result": "commands"}
assert service.ask("GET", "info/no.such.key")["status_code"] == 404
service.ask("GET", "nothing", status=404)

# MiCADO: built by the command, then looked after by the service. One that is detached is left alone.
built = run("occopus-build", "infra.yaml", "-i", "micado_worker_infra", "--auth_data_path", "auth_data.yaml", "--parallelize")
assert "Submitted infrastructure" in built, built
assert service.ask("POST", "infrastructures/micado_worker_infra/attach") == {"infraid": "micado_worker_infra"}
service.ask("POST", "infrastructures/micado_worker_infra/scaleto/worker/3")
service.until("micado_worker_infra", ready(3))
assert service.ask("POST", "infrastructures/micado_worker_infra/detach") == {"infraid": "micado_worker_infra"}
assert service.ask("POST", "infrastructures/micado_worker_infra/detach")["status_code"] == 300

# What was asked for while the service was away is done when it is back, unasked.
service.end()
run("occopus-scale", "-i", id, "-n", "worker", "-c", "1")
service = Service()
service.until(id, ready(3))

# Removed by its cluster's name, it is not made anew by who looks after it.
assert service.ask("DELETE", "infrastructures/micado_worker_infra") == {"infraid": "micado_worker_infra"}
assert service.ask("GET", "infrastructures/micado_worker_infra")["status_code"] == 300
muster = os.path.realpath(shutil.which("occopus-build"))
(cluster,) = json.loads(run(muster, "ls", "--json"))["clusters"]
deadline = time.monotonic() + 100
# 5: the service is at work on it just now.
while (down := subprocess.run([muster, "down", cluster["name"], "--yes"], timeout=100)).returncode == 5:
    assert time.monotonic() < deadline
assert down.returncode == 0
assert service.ask("GET", "infrastructures/")["infrastuctures"] == []
assert service.ask("POST", f"infrastructures/{id}/attach")["status_code"] == 300
assert json.loads(run(muster, "ls", "--json"))["clusters"] == []

# The end, with nothing left.
id = service.ask("POST", "infrastructures/", INFRA)["infraid"]
service.until(id, ready(2))
assert service.ask("DELETE", f"infrastructures/{id}") == {"infraid": id}
assert service.ask("GET", f"infrastructures/{id}")["status_code"] == 300
assert service.ask("GET", "infrastructures/")["infrastuctures"] == []
service.end()
