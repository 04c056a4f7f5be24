"""What the scripts in Python share: where the clinic is, and one printed line per check."""

import collections
import os
import sys

BASE = os.environ["FHIR_BASE"]
KEY = os.environ["FHIR_KEY"]

_failed = []


def check(name, found, expected):
    print("ok    " if found == expected else "FAILED", "", name)
    if found != expected:
        _failed.append(name)
        print(f"        found {found!r}, expected {expected!r}")


def rejection(kind, call):
    """The exception of this kind that a call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("it was not refused")


def types(resources):
    """How many resources of each type there are."""
    return dict(collections.Counter(type_of(resource) for resource in resources))


def type_of(resource):
    return getattr(resource, "resource_type", None) or resource["resourceType"]


def end():
    sys.exit(1 if _failed else 0)
