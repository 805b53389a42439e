"""`make guards`: remove each guard from a copy of the source, one at a time.

A test must fail.

A guard is a line or two that only matters when something goes wrong. A test suite that passes without it does not test
it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("src", "tasks", "flows", "tests", "benchmarks", "configs", "pyproject.toml", "requirements.lock", "README.md")
SECONDS = 600
NO_TEST = "NONE"


@dataclass(frozen=True)
class Guard:
    """A guard and the source without it."""

    name: str
    file: str
    present: str
    """The text of the guard, which occurs once in the file."""
    absent: str
    tests: tuple[str, ...]
    """Files or tests; at least one must fail without the guard."""


GUARDS = (
    Guard(
        "the lock around production",
        "src/modelworks/registry/production/alias_update.py",
        "        with alone(lock, name):\n            audit_log.settle",
        "        if True:\n            audit_log.settle",
        ("tests/registry/test_registry_race.py",),
    ),
    Guard(
        "compare and set",
        "src/modelworks/registry/production/alias_update.py",
        "if now != intent.expected:",
        "if False:",
        ("tests/registry/test_registry_production.py",),
    ),
    Guard(
        "moves of dead processes settled under the lock",
        "src/modelworks/registry/production/alias_update.py",
        "audit_log.settle(client, name)  # complete",
        "pass  # complete",
        ("tests/registry/test_registry_production.py",),
    ),
    Guard(
        "the precision of an interrupted training",
        "src/modelworks/pipeline/train_precision.py",
        "if kept is not None:",
        "if False:",
        ("tests/training/test_training_recorded_precision.py",),
    ),
    Guard(
        "an explicit precision is not a choice of auto",
        "src/modelworks/training/machine/precision.py",
        'source in ("measurement", "cpu_flags"):',
        "True:",
        ("tests/training/test_training_recorded_precision.py",),
    ),
    Guard(
        "rates of this machine only",
        "src/modelworks/training/machine/precision.py",
        'values.get("identity") == key and _valid(values)',
        "_valid(values)",
        ("tests/training/test_training_precision.py",),
    ),
    Guard(
        "history with a clock that was set back",
        "src/modelworks/registry/production/audit_log.py",
        "now = max(now, before.when)",
        "pass",
        ("tests/registry/test_registry_production.py",),
    ),
    Guard(
        "the same libraries at promotion",
        "src/modelworks/registry/verification/verify_version.py",
        "if differing and not other_libraries:",
        "if False:",
        ("tests/registry/test_registry_production.py",),
    ),
    Guard(
        "the same predictions at promotion",
        "src/modelworks/registry/verification/golden_predictions.py",
        "if not difference <= TOLERANCE:",
        "if False:",
        ("tests/registry/test_registry_production.py",),
    ),
    Guard(
        "idempotency key",
        "src/modelworks/registry/versions/registration.py",
        "queries.find(client, name, key) or _create(",
        "_create(",
        ("tests/registry/test_registry_versions.py",),
    ),
    Guard(
        "requests that create are sent once",
        "src/modelworks/registry/backend/idempotent_create.py",
        "            with sent_once():",
        "            if True:",
        ("tests/registry/backend/test_registry_idempotent_create.py",),
    ),
    Guard(
        "reconcile",
        "src/modelworks/registry/tracking/stale_runs.py",
        'client.set_terminated(run_id, "KILLED")',
        "pass",
        ("tests/registry/test_registry_stale_runs.py",),
    ),
    Guard(
        "digests of a package",
        "src/modelworks/registry/verification/verify_version.py",
        "integrity.verify(fetched / MODEL, version.digest, integrity.read_listing(evidence / integrity.FILES))",
        "pass",
        ("tests/security/test_security_bit_flips.py",),
    ),
    Guard(
        "the form of a package",
        "src/modelworks/registry/verification/verify_version.py",
        "    check_form(fetched / MODEL)\n",
        "",
        ("tests/security/test_security_hostile_models.py",),
    ),
    Guard(
        "names that leave the package",
        "src/modelworks/registry/packaging/integrity.py",
        "    check_names(listing)\n",
        "",
        ("tests/security/test_security_hostile_models.py",),
    ),
    Guard(
        "label leakage",
        "src/modelworks/validation/label_leakage.py",
        "(areas > above)",
        "(areas > 2)",
        ("tests/validation/test_validation_label_leakage.py",),
    ),
    Guard(
        "the signature",
        "src/modelworks/registry/verification/verify_version.py",
        "    require_signature(fetched, evidence / signing.FILE)\n",
        "",
        ("tests/security/test_security_signature.py",),
    ),
    Guard(
        "digests of a stage's output",
        "src/modelworks/files/manifests.py",
        "if found[name] != listed[name]:",
        "if False:",
        ("tests/pipeline/test_pipeline_stage_store.py",),
    ),
    Guard(
        "fsync before rename",
        "src/modelworks/files/atomic_files.py",
        "os.fsync(descriptor)",
        "pass",
        ("tests/pipeline/test_pipeline_stage_store.py",),
    ),
    Guard(
        "weights that are not finite",
        "src/modelworks/training/loop.py",
        "if not _is_finite(self._model, self._world):",
        "if False:",
        ("tests/training/test_training_loop.py",),
    ),
    Guard(
        "generators in a checkpoint",
        "src/modelworks/training/loop.py",
        "        **random_states(world),\n",
        "",
        ("tests/training/test_training_loop.py",),
    ),
    Guard(
        "leakage",
        "src/modelworks/evaluation/gate/contamination.py",
        'decision="reject" if ids else "promote"',
        'decision="promote"',
        ("tests/evaluation/test_evaluation_gate.py",),
    ),
    Guard(
        "losses that were not observed",
        "src/modelworks/evaluation/statistics/paired_comparison.py",
        "dataclasses.replace(seen, low=lowest)",
        "seen",
        ("tests/evaluation/test_evaluation_paired_comparison.py", "tests/evaluation/test_evaluation_gate.py"),
    ),
    Guard(
        "better than the trivial baseline",
        "src/modelworks/evaluation/gate/trivial_baseline.py",
        'decision="promote" if found.low > 0 else "reject"',
        'decision="promote"',
        ("tests/evaluation/test_evaluation_gate.py",),
    ),
    Guard(
        "an empty gate",
        "src/modelworks/evaluation/config.py",
        "if not self.minimums and not self.maximums:",
        "if False:",
        ("tests/evaluation/test_evaluation_config.py", "tests/config/test_config.py"),
    ),
    Guard(
        "mandatory checks of data",
        "src/modelworks/validation/validate.py",
        "(*mandatory(dataset, objective, checks), *configured(",
        "(*(), *configured(",
        ("tests/validation",),
    ),
    Guard(
        "the limit on bad rows",
        "src/modelworks/validation/validate.py",
        "passed=share <= checks.max_bad_share",
        "passed=True",
        ("tests/validation",),
    ),
    Guard(
        "files that changed are read again",
        "src/modelworks/files/digest_memo.py",
        "if known is not None and known[0] == before:",
        "if known is not None:",
        ("tests/test_digest_memo.py",),
    ),
    Guard(
        "digests of recently changed files are not cached",
        "src/modelworks/files/digest_memo.py",
        "for path, entry in found.items() if entry[0][1] < latest}",
        "for path, entry in found.items()}",
        ("tests/test_digest_memo.py",),
    ),
    Guard(
        "one run of a pipeline at a time",
        "tasks/context.py",
        'with locked(project.locks / f"run-{config.name}.lock", f"running {config.name}", seconds=0):',
        "if True:",
        ("tests/flows/test_flows_interruption.py::test_same_pipeline_runs_once_at_a_time",),
    ),
    Guard(
        "an output is made once at a time",
        "tasks/stage_task.py",
        "with _stage_lock(run, stage):",
        "if True:",
        ("tests/tasks/test_tasks_stage_task.py",),
    ),
    Guard(
        "one trainer in a work folder",
        "src/modelworks/training/__main__.py",
        "_lock(job.work)",
        "pass",
        ("tests/training/test_training_launch.py",),
    ),
    Guard(
        "code is saved as it was trained with",
        "src/modelworks/training/fit.py",
        "sources=sources,",
        "sources=serialization.sources(architecture, sys.modules[processor.__module__], sys.modules[objective.__module__]),",
        ("tests/training/test_training_launch.py",),
    ),
    Guard(
        "an incomplete verdict",
        "src/modelworks/registry/versions/registration.py",
        'client.set_model_version_tag(version.name, str(version.version), lineage.GATE_KEY, "")',
        "pass",
        ("tests/registry/test_registry_versions.py",),
    ),
    Guard(
        "unknown files in data/",
        "src/modelworks/data/versioning.py",
        "dataset_format.refuse_unknown_files(",
        "_ = (",
        ("tests/data/test_data_versioning.py",),
    ),
    Guard(
        "data replaced while it is used",
        "src/modelworks/data/dataset_format.py",
        "    if found != digest:\n        raise Overtaken(",
        "    if False:\n        raise Overtaken(",
        ("tests/faults/test_faults_meanwhile.py",),
    ),
    Guard(
        "code edited while it is used",
        "src/modelworks/pipeline/cache_keys.py",
        "if changed := changed_sources(ingredients):",
        "if changed := ():",
        ("tests/pipeline/test_pipeline_cache_keys.py", "tests/faults/test_faults_meanwhile.py"),
    ),
    Guard(
        "a finished move is not repeated",
        "src/modelworks/registry/production/audit_log.py",
        'if read(client.get_run(move)).state != "intent":',
        "if False:",
        ("tests/registry/test_registry_production.py",),
    ),
    Guard(
        "a signal that DVC treats as a failure",
        "src/modelworks/data/dvc_storage/repository.py",
        "raise raised[0]",
        "pass",
        ("tests/data/test_data_fetch_into.py",),
    ),
    Guard(
        "tokens bypass the proxy",
        "src/modelworks/servers/no_proxy.py",
        "build_opener(ProxyHandler({}))",
        "build_opener(ProxyHandler())",
        ("tests/servers/test_servers_no_proxy.py::test_token_is_sent_to_the_server_but_not_to_a_proxy",),
    ),
    Guard(
        "no secrets in errors",
        "src/modelworks/errors.py",
        "self.message, self.hint, self.code = redacted(message), redacted(hint), code",
        "self.message, self.hint, self.code = message, hint, code",
        ("tests/test_errors.py", "tests/test_redaction.py"),
    ),
    Guard(
        "loopback",
        "src/modelworks/servers/host_origin_check.py",
        "if exposure.missing:",
        "if False:",
        ("tests/security/test_security_access.py",),
    ),
    Guard(
        "requests of other origins",
        "src/modelworks/servers/host_origin_check.py",
        "if origin and origin not in self.origins:",
        "if False:",
        ("tests/security/test_security_access.py",),
    ),
    Guard(
        "no pickle regardless of the user's settings",
        "src/modelworks/project.py",
        "os.environ.update({**missing, **ENFORCED})",
        "os.environ.update(missing)",
        ("tests/security/test_security_processes.py::test_entering_a_project_enforces_security_settings",),
    ),
)


def main(names: list[str]) -> int:
    """Remove the named guards, or all, and print the table.

    Return 1 if no test failed for one of them.
    """
    chosen = [guard for guard in GUARDS if not names or guard.name in names]
    rows = []
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        copy = Path(folder) / "project"
        _copy(copy)
        needed = sorted({test for guard in chosen for test in guard.tests})
        print(f"with every guard in place: {len(needed)} files or tests", flush=True)
        failed, output = _run(copy, needed, stop_early=False)
        if failed:
            print(output)
            print("tests fail with every guard in place: correct them first")
            return 1
        for guard in chosen:
            path = copy / guard.file
            source = path.read_text()
            path.write_text(_without(guard, source))
            started = time.monotonic()
            failed, _ = _run(copy, guard.tests)
            path.write_text(source)
            failing_test = failed[0] if failed else NO_TEST
            rows.append((guard.name, failing_test, f"{time.monotonic() - started:.0f} s"))
            print(f"  without {guard.name:<48} failing test: {failing_test}", flush=True)
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    print(
        "\n" + "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    )
    detected = sum(row[1] != NO_TEST for row in rows)
    print(f"\nthe removal of {detected} of {len(rows)} guards was detected")
    return int(detected < len(rows))


def _without(guard: Guard, source: str) -> str:
    """Return the source without the guard."""
    if source.count(guard.present) != 1:
        raise SystemExit(f"{guard.name}: {guard.file} has {source.count(guard.present)} times: {guard.present}")
    return source.replace(guard.present, guard.absent)


def _copy(copy: Path) -> None:
    copy.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, copy / part)


def _run(copy: Path, tests: list[str] | tuple[str, ...], *, stop_early: bool = True) -> tuple[list[str], str]:
    """Run tests with the copy's source; return the failed ones and pytest's output."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-rfE", "--tb=no"]
    try:
        done = subprocess.run(
            [*command, *(["-x"] if stop_early else []), *tests],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS if stop_early else None,
        )
    except subprocess.TimeoutExpired:
        return ["a test that timed out"], ""
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) and not failed:
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [re.sub(r"^[^:]*/", "", each) for each in failed], done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
