"""The original's pipeline, told again with its own libraries: parse, dump, render, parse.

One JSON document on stdin: a list of cases, each with the two files as JSON (which is YAML), who has which address, and
what the crate under test gave. One JSON document on stdout: for each case what became of it.
"""

import datetime
import json
import sys

import jinja2
from ruamel import yaml


def load(text):
    return yaml.load(text, Loader=yaml.Loader)


def told(value):
    """A value with its type, so that 1, 1.0, True and '1' differ."""
    if isinstance(value, bool):
        return {"bool": value}
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        return {"float": repr(value)}
    if isinstance(value, (datetime.date, datetime.datetime)):
        return {"date": str(value)}
    if isinstance(value, list):
        return [told(item) for item in value]
    if isinstance(value, dict):
        return {"map": sorted([str(key), told(item)] for key, item in value.items())}
    return value


def shape(value):
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, dict):
        return sorted(json.dumps(shape(item)) for item in value.values())
    return "leaf"


def merged(base, over):
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def names(case, infra, implementation):
    node = infra["nodes"][case["node"]]
    addresses = case["addresses"]

    def some(name):
        found = addresses.get(name) if name else [a for n in infra["nodes"] for a in addresses.get(n["name"], [])]
        if not found:
            raise KeyError(name)
        return found

    known = {"node_id": case["node_id"], "infra_id": case["infra_id"], "infra_name": infra["infra_name"]}
    known["user_id"] = infra["user_id"]
    known.update(node)
    known["variables"] = merged(infra.get("variables", {}), node.get("variables", {}))
    known.update(implementation)
    known["getip"] = lambda name: some(name)[0]
    known["getprivip"] = lambda name: some(name)[0]
    known["getipall"] = lambda name: list(some(name))
    known["cut"] = lambda text, start, end: text[start:end]
    return known


def original(case, **how):
    infra = load(case["infrastructure"])
    definitions = load(case["definitions"])
    node = infra["nodes"][case["node"]]
    implementation = definitions["node_def:" + node["type"]][0]
    # What is imported is stored in between.
    implementation = load(yaml.dump(implementation))
    known = names(case, infra, implementation)
    resource = load(jinja2.Template(yaml.dump(implementation["resource"], **how)).render(**known))
    kept = shape(implementation["resource"]) == shape(resource)
    implementation["resource"].update(resource)
    template = implementation["contextualisation"]["context_template"]
    text = template
    if isinstance(template, dict):
        text = "#cloud-config\n" + yaml.dump(template, default_flow_style=False, **how)
    text = jinja2.Template(text).render(**known)
    context = load(text) if text.startswith("#cloud-config") else text
    kept = kept and (isinstance(template, str) or shape(template) == shape(context))
    return context, implementation["resource"], kept


def compare(case):
    try:
        context, resource, kept = original(case)
    except Exception as error:  # whatever it is: the original fails here
        return {"is": "failed", "why": f"{type(error).__name__}: {error}"}
    try:
        unfolded = original(case, width=1 << 20)[:2]
    except Exception:
        unfolded = None
    if unfolded != (context, resource):
        # Lines that the dumper folds in the middle of a block tag: `{% endraw %}` is none any more.
        return {"is": "folded"}
    if not kept:
        return {"is": "reshaped"}
    wanted = {"context": told(context), "resource": told(resource)}
    if case["context"] is None:
        return {"is": "refused", "wanted": wanted}
    text = case["context"]
    try:
        given = load(text) if text.startswith("#cloud-config") else text
        given = {"context": told(given), "resource": told(load(case["resource"]))}
    except Exception as error:
        return {"is": "unreadable", "why": str(error)}
    return {"is": "same"} if given == wanted else {"is": "different", "wanted": wanted, "given": given}


json.dump([compare(case) for case in json.load(sys.stdin)], sys.stdout)
