"""Guards of the registry, the servers and the pipeline."""

from __future__ import annotations

from programs.guard import Guard

REGISTRY_GUARDS = (
    Guard(
        "the lock around production",
        "src/modelworks/registry/production/alias_update.py",
        "        with alone(lock, name):\n            audit_log.settle",
        "        if True:\n            audit_log.settle",
        ("tests/registry/production/test_registry_race.py",),
    ),
    Guard(
        "compare and set",
        "src/modelworks/registry/production/alias_update.py",
        "if now != intent.expected:",
        "if False:",
        (
            "tests/registry/production/test_registry_audit_log.py",
            "tests/registry/production/test_registry_moved_elsewhere.py",
            "tests/registry/production/test_registry_production.py",
        ),
    ),
    Guard(
        "moves of dead processes settled under the lock",
        "src/modelworks/registry/production/alias_update.py",
        "audit_log.settle(client, name)  # complete",
        "pass  # complete",
        (
            "tests/registry/production/test_registry_audit_log.py",
            "tests/registry/production/test_registry_moved_elsewhere.py",
            "tests/registry/production/test_registry_production.py",
        ),
    ),
    Guard(
        "the precision of an interrupted training",
        "src/modelworks/pipeline/train_precision.py",
        "if kept is not None:",
        "if False:",
        ("tests/training/machine/test_training_recorded_precision.py",),
    ),
    Guard(
        "history with a clock that was set back",
        "src/modelworks/registry/production/audit_log.py",
        "now = max(now, before.when)",
        "pass",
        (
            "tests/registry/production/test_registry_audit_log.py",
            "tests/registry/production/test_registry_moved_elsewhere.py",
            "tests/registry/production/test_registry_production.py",
        ),
    ),
    Guard(
        "the same libraries at promotion",
        "src/modelworks/registry/verification/verify_version.py",
        "if differing and not other_libraries:",
        "if False:",
        (
            "tests/registry/production/test_registry_audit_log.py",
            "tests/registry/production/test_registry_moved_elsewhere.py",
            "tests/registry/production/test_registry_production.py",
        ),
    ),
    Guard(
        "the same predictions at promotion",
        "src/modelworks/registry/verification/golden_predictions.py",
        "if not difference <= TOLERANCE:",
        "if False:",
        (
            "tests/registry/production/test_registry_audit_log.py",
            "tests/registry/production/test_registry_moved_elsewhere.py",
            "tests/registry/production/test_registry_production.py",
        ),
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
        ("tests/registry/tracking/test_registry_stale_runs.py",),
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
        "the signature",
        "src/modelworks/registry/verification/verify_version.py",
        "    require_signature(fetched, evidence / signing.FILE)\n",
        "",
        ("tests/security/test_security_signature.py",),
    ),
    Guard(
        "an incomplete verdict",
        "src/modelworks/registry/versions/registration.py",
        'client.set_model_version_tag(version.name, str(version.version), lineage.GATE_KEY, "")',
        "pass",
        ("tests/registry/test_registry_versions.py",),
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
        (
            "tests/registry/production/test_registry_audit_log.py",
            "tests/registry/production/test_registry_moved_elsewhere.py",
            "tests/registry/production/test_registry_production.py",
        ),
    ),
    Guard(
        "tokens bypass the proxy",
        "src/modelworks/servers/no_proxy.py",
        "build_opener(ProxyHandler({}))",
        "build_opener(ProxyHandler())",
        ("tests/servers/test_servers_no_proxy.py::test_token_is_sent_to_the_server_but_not_to_a_proxy",),
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
)
