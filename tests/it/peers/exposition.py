"""Reads a page of metrics on standard input with Prometheus' own client library, and says as JSON what it is made of.

It is stricter than the parser: help and type for every family, no sample twice, histograms that only rise.
"""

import json
import math
import sys

from prometheus_client.parser import text_string_to_metric_families

text = sys.stdin.read()
families = {}
seen = set()
for family in text_string_to_metric_families(text):
    assert family.name not in families, f"family twice: {family.name}"
    assert family.documentation, f"no help: {family.name}"
    assert family.type in ("counter", "gauge", "histogram"), f"{family.name}: {family.type}"
    labels = set()
    buckets = {}
    for sample in family.samples:
        own = tuple(sorted(sample.labels.items()))
        assert (sample.name, own) not in seen, f"sample twice: {sample.name}{own}"
        seen.add((sample.name, own))
        assert math.isfinite(sample.value) and sample.value >= 0, f"{sample.name}: {sample.value}"
        labels.update(sample.labels)
        if sample.name.endswith("_bucket"):
            rest = tuple(pair for pair in own if pair[0] != "le")
            buckets.setdefault(rest, []).append((float(sample.labels["le"]), sample.value))
        if family.type == "counter":
            assert sample.name == family.name + "_total", sample.name
    for of in buckets.values():
        assert of == sorted(of) and of[-1][0] == math.inf, f"buckets of {family.name}"
        assert [n for _, n in of] == sorted(n for _, n in of), f"buckets of {family.name} fall"
    families[family.name] = {"type": family.type, "labels": sorted(labels)}
print(json.dumps(families))
