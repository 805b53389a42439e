"""Events are read in complete lines, also after a killed writer."""

from __future__ import annotations

from pathlib import Path

from modelworks.training.monitoring.events import EventLog, EventTail, all_events


def test_reader_gets_events_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert list(tail.new()) == []
    log = EventLog(path)
    log.write("start", steps=3)
    (event,) = tail.new()
    assert (event["type"], event["steps"], event["time"] > 0) == ("start", 3, True)
    assert list(tail.new()) == []
    log.write("step", step=1)
    log.write("step", step=2)
    assert [event["step"] for event in tail.new()] == [1, 2]
    log.close()


def test_incomplete_line_is_read_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"")
    tail = EventTail(path)
    with path.open("ab", buffering=0) as stream:
        stream.write(b'{"type": "st')
        assert list(tail.new()) == []
        stream.write(b'ep"}\n{"ty')
        assert list(tail.new()) == [{"type": "step"}]


def test_events_of_an_earlier_attempt_are_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"type": "start"}\n{"type": "st')
    tail = EventTail(path)
    log = EventLog(path)
    log.write("start", attempt=2)
    log.close()
    assert [event["attempt"] for event in tail.new()] == [2]
    assert path.read_text().count("\n") == 2
    assert path.read_text().startswith('{"type": "start"}\n{"type": "start"')


def test_all_events_reads_a_finished_training(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.write("start", steps=2)
    log.write("done", step=2)
    log.close()
    assert [event["type"] for event in all_events(tmp_path / "events.jsonl")] == ["start", "done"]
