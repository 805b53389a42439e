from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from samples.makings import PROVENANCE

from modelworks.errors import BadInput, Refused
from modelworks.pipeline.status import verdict_is_current
from modelworks.records import Check, Evaluation, ModelVersion, Verdict
from modelworks.registry.tracking import tags
from modelworks.registry.versions import queries, registration

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.project import Project

Register = Callable[..., ModelVersion]


def test_registering_a_key_again_returns_the_same_version(
    client: MlflowClient, project: Project, begin: Callable[[], str], evaluate: Callable[..., Evaluation]
) -> None:
    evaluation = evaluate()
    first = registration.register(
        client, project, evaluation, provenance=PROVENANCE, name="small", key="a", run_id=begin()
    )
    again = registration.register(
        client, project, evaluation, provenance=PROVENANCE, name="small", key="a", run_id=begin()
    )
    assert again == first
    assert len(client.search_model_versions("name = 'small'")) == 1
    other = registration.register(
        client, project, evaluation, provenance=PROVENANCE, name="small", key="b", run_id=begin()
    )
    assert other.version == 2


def test_concurrent_registrations_of_a_key_create_one_version(
    client: MlflowClient, project: Project, begin: Callable[[], str], evaluate: Callable[..., Evaluation]
) -> None:
    evaluation = evaluate()

    def register(run_id: str) -> ModelVersion:
        return registration.register(
            client, project, evaluation, provenance=PROVENANCE, name="small", key="a", run_id=run_id
        )

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(register, [begin() for _ in range(4)]))
    assert {each.version for each in made} == {1}
    assert len(client.search_model_versions("name = 'small'")) == 1


def test_run_is_named_after_its_version(client: MlflowClient, register: Register) -> None:
    first, second = register(0), register(1)
    assert [client.get_run(each.run_id).info.run_name for each in (first, second)] == ["small v1", "small v2"]


def test_renamed_run_keeps_its_name(
    client: MlflowClient, project: Project, begin: Callable[[], str], evaluate: Callable[..., Evaluation]
) -> None:
    run_id = begin()
    assert client.get_run(run_id).info.run_name == "small"
    client.update_run(run_id, name="my favourite")
    registration.register(client, project, evaluate(), provenance=PROVENANCE, name="small", key="a", run_id=run_id)
    assert client.get_run(run_id).info.run_name == "my favourite"


def test_version_is_created_with_its_tags(
    client: MlflowClient, project: Project, begin: Callable[[], str], evaluate: Callable[..., Evaluation]
) -> None:
    run_id = begin()
    version = registration.register(
        client, project, evaluate(), provenance=PROVENANCE, name="small", key="a", run_id=run_id
    )
    entry = client.get_model_version("small", str(version.version))
    assert entry.run_id == version.run_id == run_id
    assert entry.status == "READY"
    assert entry.tags["modelworks.pipeline_key"] == "a"
    assert entry.tags["modelworks.digest"] == version.digest
    assert entry.tags["modelworks.data_version"].endswith(".dir")
    assert json.loads(entry.tags["modelworks.metrics"]) == {"accuracy": [0.91, 0.85, 0.95]}
    assert "accuracy 0.9100 [0.8500, 0.9500]" in entry.description
    found = queries.find(client, "small", "a")
    assert found is not None
    assert found.decision == ""


def test_no_version_under_an_unknown_key(client: MlflowClient, register: Register) -> None:
    assert queries.find(client, "small", "key-0") is None
    register()
    assert queries.find(client, "small", "another") is None


def test_verdict_is_stored_and_can_be_replaced(
    client: MlflowClient, register: Register, judge: Callable[..., Verdict]
) -> None:
    verdict = judge(register(), "reject")
    for _ in range(2):
        registration.record_verdict(client, verdict)
    entry = client.get_model_version("small", "1")
    assert entry.tags["modelworks.verdict"] == "reject"
    assert json.loads(entry.tags["modelworks.verdict_json"])["checks"][0]["observed"] == "0.9100 [0.8500, 0.9500]"
    assert "failed: accuracy is 0.9100" in entry.description


def test_partly_written_verdict_does_not_count(
    client: MlflowClient, register: Register, judge: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    version, set_tag = register(), client.set_model_version_tag
    first, second = replace(judge(version, "promote"), baseline=3), replace(judge(version, "reject"), baseline=4)
    for written in range(5):
        registration.record_verdict(client, first)
        calls = itertools.count()

        def set_some(*tag: str, calls: Iterator[int] = calls, written: int = written) -> None:
            if next(calls) == written:
                raise ConnectionError
            set_tag(*tag)

        with monkeypatch.context() as patch:
            patch.setattr(client, "set_model_version_tag", set_some)
            with pytest.raises(ConnectionError):
                registration.record_verdict(client, second)
        # Version 4 is production now: the first verdict compared with another, the second is incomplete.
        found = queries.get(client, "small", 1)
        assert not verdict_is_current(found, "gate-key", 4), written
        if written:  # a mix of two verdicts does not count either
            assert (found.decision, found.verdict) == ("", {}), written
            with pytest.raises(Refused) as caught:
                queries.newest_accepted(client, "small")
            assert caught.value.code == "production.not-accepted"
    registration.record_verdict(client, second)
    assert verdict_is_current(queries.get(client, "small", 1), "gate-key", 4)


def test_verdict_above_the_tag_limit_keeps_the_failed_checks(register: Register) -> None:
    checks = [Check(name=f"check {n}", passed=n != 199, observed="x" * 20, required="y" * 20) for n in range(200)]
    verdict = Verdict(version=register(), key="k", decision="reject", checks=tuple(checks), baseline=0)
    text = tags.verdict_tags(verdict)["modelworks.verdict_json"]
    assert len(text) < tags.LONGEST
    kept = json.loads(text)
    assert kept["checks"][0]["name"] == "check 199"
    assert len(kept["checks"]) + kept["left_out"] == 200


def test_unknown_model_and_version_list_known_ones(client: MlflowClient, register: Register) -> None:
    with pytest.raises(BadInput, match="'small'") as caught:
        queries.get(client, "small", 1)
    assert caught.value.code == "model.unknown"
    register()
    with pytest.raises(BadInput, match="7") as caught:
        queries.get(client, "small", 7)
    assert (caught.value.code, "1" in caught.value.hint) == ("version.unknown", True)
    with pytest.raises(BadInput, match="'smal'") as caught:
        queries.all_of(client, "smal")
    assert (caught.value.code, "small" in caught.value.hint) == ("model.unknown", True)


def test_newest_accepted_is_the_last_version_with_verdict_promote(client: MlflowClient, register: Register) -> None:
    register(0, decision="reject")
    with pytest.raises(Refused) as caught:
        queries.newest_accepted(client, "small")
    assert caught.value.code == "production.not-accepted"
    register(1)
    register(2, decision="inconclusive")
    assert queries.newest_accepted(client, "small") == 2


def test_production_is_none_until_the_alias_is_set(client: MlflowClient, register: Register) -> None:
    assert queries.production(client, "small") == 0
    register()
    assert queries.production(client, "small") == 0
    client.set_registered_model_alias("small", "production", "1")
    assert queries.production(client, "small") == 1


def test_user_text_in_a_version_description_is_kept(
    client: MlflowClient, register: Callable[..., ModelVersion], judge: Callable[..., Verdict]
) -> None:
    version = register()
    ours = client.get_model_version("small", "1").description
    assert "Verdict: **promote**" in ours
    client.update_model_version("small", "1", f"Ann: good sevens.\n\n{ours}\n\nBob: look at the nines.")
    for decision in ("reject", "promote"):
        registration.record_verdict(client, judge(version, decision))
        text = client.get_model_version("small", "1").description
        assert text.startswith("Ann: good sevens.\n")
        assert text.endswith("\nBob: look at the nines.")
        assert text.count("Verdict:") == 1
        assert f"Verdict: **{decision}**" in text
    client.update_model_version("small", "1", "Ann: " + "x" * 6000)
    registration.record_verdict(client, judge(version, "reject"))
    assert client.get_model_version("small", "1").description == "Ann: " + "x" * 6000
