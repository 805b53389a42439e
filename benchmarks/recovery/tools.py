"""The tools that are compared."""

from __future__ import annotations

import sys

from benchmarks.recovery.ours import OURS
from benchmarks.recovery.tool import Tool

__all__ = ["TOOLS"]

PYTHON = sys.executable
DVC = (PYTHON, "-m", "dvc")
DVC_FILES = {"dvc_stage.py": "dvc_stage.py", "dvc.yaml": "dvc.yaml"}

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="plain script",
        files={"plain_script.py": "plain_script.py"},
        command=(PYTHON, "plain_script.py"),
        settings="no checkpoints of its own",
    ),
    Tool(
        name="Prefect",
        files={"prefect_flow.py": "prefect_flow.py"},
        command=(PYTHON, "prefect_flow.py"),
        variables={"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"},
        settings="`persist_result=True`, `cache_policy=INPUTS + TASK_SOURCE`; without these it does everything again",
    ),
    Tool(
        name="Kedro",
        files={"kedro": "."},
        command=(PYTHON, "-m", "kedro", "run"),
        resume=(PYTHON, "-m", "kedro", "run", "--only-missing-outputs"),
        packages=("kedro==1.7.0", "kedro-datasets==9.6.0"),
        documented=(
            "`--only-missing-outputs` reuses finished nodes; the training starts again",
            "everything again",
            "everything again",
        ),
        settings="every result in a pickle; after the kill `kedro run --only-missing-outputs`",
    ),
    Tool(
        name="ZenML",
        files={"zenml_pipeline.py": "zenml_pipeline.py"},
        command=(PYTHON, "zenml_pipeline.py"),
        packages=("zenml[local]==0.98.0",),
        constrained=False,  # it needs an older pydantic than the project has
        variables={"ZENML_ANALYTICS_OPT_IN": "false"},
        documented=(
            "finished steps come from the cache; the training starts again",
            "nothing: every step comes from the cache",
            "not noticed: the cache compares the step's own source, its inputs and parameters",
        ),
        settings="its cache is on by default",
    ),
    Tool(
        name="Metaflow",
        files={"metaflow_flow.py": "metaflow_flow.py"},
        command=(PYTHON, "metaflow_flow.py", "run"),
        resume=(PYTHON, "metaflow_flow.py", "resume"),
        packages=("metaflow==2.19.39",),
        variables={"USERNAME": "benchmark"},
        documented=(
            "`resume` reuses finished steps; the training starts again",
            "everything again",
            "everything again",
        ),
        settings="after the kill `resume`",
    ),
    Tool(
        name="DVC",
        files=DVC_FILES,
        command=(*DVC, "repro"),
        prepare=((*DVC, "init", "--no-scm", "--quiet"),),
        settings="each stage depends on its script and its data, as in its tutorial",
    ),
    Tool(
        name="DVC, helper listed",
        files={"dvc_stage.py": "dvc_stage.py", "dvc_helper_listed.yaml": "dvc.yaml"},
        command=(*DVC, "repro"),
        prepare=((*DVC, "init", "--no-scm", "--quiet"),),
        settings="the helper's file is listed by hand as a dependency of the training",
    ),
    OURS,
)
