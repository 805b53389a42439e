"""Render the lineage of a version as a text tree and a Mermaid graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelworks import record_json
from modelworks.data.features import targets_in_words

if TYPE_CHECKING:
    from modelworks.provenance import Provenance
    from modelworks.registry.production.audit_queries import Move
    from modelworks.registry.versions.queries import Registered

__all__ = ["Step", "chain", "page", "provenance_steps", "tree", "version_step"]

SHORT = 12
"""Displayed characters of a digest."""


@dataclass(frozen=True)
class Step:
    """A step of the lineage with its facts."""

    name: str
    facts: tuple[str, ...]
    next: tuple[Step, ...] = field(default=())


def provenance_steps(evaluation: Mapping[str, Any], provenance: Provenance) -> tuple[Step, ...]:
    """Return the steps from the source to the evaluation.

    Args:
        evaluation: the records of the stages, as JSON.
        provenance: of the version.
    """
    trained = evaluation["trained"]
    report = trained["report"]
    dataset = report["dataset"]
    passed = sum(check["passed"] for check in report["checks"])
    usable = ", ".join(f"{rows:,} {split}" for split, rows in report["rows"].items())
    code, machine, data = provenance.code, provenance.machine, provenance.data
    changed = " with changes" if code.patch or (code.commit and code.missing) else ""
    return (
        Step(
            "source", (str(dataset["source"].get("kind", "")), f"SHA-256 {dataset['source'].get('sha256', '')[:SHORT]}")
        ),
        Step(
            "data",
            (
                f"{dataset['name']} {dataset['digest']}",
                f"{dataset['rows']:,} rows, {targets_in_words(record_json.features(dataset))}",
                dataset["licence"],
                f"DVC remote {data.remote or 'none'} {data.remotes.get(data.remote, '')}".strip(),
            ),
        ),
        Step(
            "validation",
            (
                f"{passed} of {len(report['checks'])} checks passed",
                usable,
                f"{report['quarantined']:,} rows in quarantine",
            ),
        ),
        Step(
            "training",
            (
                f"{provenance.config['model']['kind']} of {trained['num_parameters']:,} parameters",
                f"{trained['num_steps']:,} steps in {trained['seconds']:.1f} s",
                f"{machine.device} {machine.precision}, {machine.processes} x {machine.threads} threads",
                f"precision by {machine.precision_source.replace('_', ' ')}",
                f"seed {provenance.seed}",
                f"commit {code.commit[:SHORT]}{changed}" if code.commit else "outside git",
            ),
        ),
        Step(
            "evaluation",
            (
                f"{evaluation['rows']:,} test rows",
                *(f"{name} {each['value']:.4f}" for name, each in evaluation["metrics"].items()),
            ),
        ),
    )


def version_step(version: Registered, moves: Sequence[Move], production: int) -> Step:
    """Return the step of the version, with its verdict and its moves of production.

    Args:
        moves: of the model, newest first.
        production: the production version.
    """
    verdict = version.verdict
    checks = verdict.get("checks", ())
    passed = sum(check["passed"] for check in checks)
    baseline = f"compared with version {verdict['baseline']}" if verdict.get("baseline") else "compared with no version"
    facts = (version.decision, baseline, f"{passed} of {len(checks)} checks passed") if verdict else ("none yet",)
    return Step(
        "version",
        (
            f"{version.name} {version.version}",
            f"package {version.digest[:SHORT]}",
            *(["production"] if production == version.version else []),
        ),
        (
            Step("verdict", facts),
            *(
                Step(f"{move.when:%Y-%m-%d %H:%M} {move.kind}", _facts(move))
                for move in reversed(moves)
                if version.version in (move.before, move.after) and move.state == "done"
            ),
        ),
    )


def chain(steps: Sequence[Step], last: Step) -> Step:
    """Return consecutive steps as one tree."""
    for step in reversed(steps):
        last = Step(step.name, step.facts, (last,))
    return last


def tree(step: Step) -> str:
    """Return the tree as text."""
    return "\n".join(_lines(step, "", ""))


def page(steps: Sequence[Step]) -> str:
    """Return a Markdown page with the Mermaid graph of the steps."""
    root = chain(steps[:-1], steps[-1])
    lines = ["# Lineage", "", "```mermaid", "flowchart TD"]
    names = iter(range(1_000_000))

    def draw(step: Step) -> str:
        name = f"step{next(names)}"
        text = "<br/>".join(_escaped(each) for each in step.facts)
        lines.append(f'  {name}["<b>{_escaped(step.name)}</b><br/>{text}"]')
        lines.extend([f"  {name} --> {child}" for child in map(draw, step.next)])
        return name

    draw(root)
    return "\n".join([*lines, "```", ""])


def _facts(move: Move) -> tuple[str, ...]:
    before = f"version {move.before}" if move.before else "none"
    return (f"{before} -> version {move.after}", f"{move.who}: {move.why}")


def _lines(step: Step, first: str, rest: str) -> Iterator[str]:
    yield f"{first}{step.name}: {'; '.join(step.facts)}"
    for child in step.next:
        final = child is step.next[-1]
        yield from _lines(child, f"{rest}{'└─ ' if final else '├─ '}", f"{rest}{'   ' if final else '│  '}")


def _escaped(text: str) -> str:
    """Escape a text for Mermaid, which uses # for & in HTML entities."""
    return "".join(f"#{ord(each)};" if each in '"<>#&`' else each for each in text)
