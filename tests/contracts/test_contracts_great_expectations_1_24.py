"""Undocumented behaviour of Great Expectations 1.24 that modelworks depends on."""

from __future__ import annotations

import subprocess
import sys

from modelworks.validation.great_expectations_internals import known_expectations


def test_every_known_expectation_is_a_class() -> None:
    from great_expectations import expectations
    from great_expectations.expectations.expectation import Expectation

    known = known_expectations()
    assert len(known) > 40
    for name, class_name in known.items():
        assert class_name.lower() == name.replace("_", "")
        assert issubclass(getattr(expectations, class_name), Expectation)


def test_known_expectations_do_not_import_great_expectations() -> None:
    program = "import sys; from modelworks.validation.great_expectations_internals import known_expectations; known_expectations(); "
    program += "print('great_expectations' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
