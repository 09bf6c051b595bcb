"""Holds the admin API to its own description: openapi.py SOCKET [METHOD PATH]...

The description has to be valid OpenAPI, and the answer to each request has to be one that it has, with a body that fits.
Prints how many answers were looked at.
"""

import json
import re
import socket
import sys

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate


def ask(path, method, target):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(30)
        peer.connect(path)
        peer.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        text = b""
        while piece := peer.recv(65536):
            text += piece
    head, body = text.decode().split("\r\n\r\n", 1)
    status, *fields = head.split("\r\n")
    fields = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
    return status.split(" ")[1], fields["content-type"].split(";")[0], body


def operation(description, method, target):
    path = target.split("?")[0]
    for template, operations in description["paths"].items():
        pattern = re.sub(r"\\\{[^/]*\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path):
            return operations[method.lower()]
    raise SystemExit(f"{path} is not described")


def resolved(description, node):
    while "$ref" in node:
        target = description
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def check(description, method, target, status, kind, body):
    responses = operation(description, method, target)["responses"]
    if status not in responses:
        raise SystemExit(f"{method} {target}: {status} is not described: {body}")
    content = resolved(description, responses[status])["content"]
    if kind not in content:
        raise SystemExit(f"{method} {target}: {kind} is not described")
    if kind == "application/json":
        schema = {**content[kind]["schema"], "components": description["components"]}
        validator = Draft202012Validator(schema, format_checker=FormatChecker())
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(json.loads(body))]
        if errors:
            raise SystemExit(f"{method} {target}: {errors}")


def main():
    path, *requests = sys.argv[1:]
    description = json.loads(ask(path, "GET", "/openapi.json")[2])
    validate(description)
    for request in requests:
        method, target = request.split(" ")
        check(description, method, target, *ask(path, method, target))
    print(json.dumps({"checked": len(requests)}))


main()
