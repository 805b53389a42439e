"""Run the scoring server.

`python -m modelworks.servers.scoring_server PARENT SOCKET HOST PACKAGE`

It serves a package that its parent has verified, on the socket that its parent opened, and ends when its parent does.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from modelworks.process import die_with_parent, rare_garbage_collection
from modelworks.servers.host_origin_check import Access, guarded
from modelworks.settings import Exposure


def main() -> None:
    """Serve until it is stopped."""
    parent, listener, host = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), sys.argv[3]
    die_with_parent(parent)
    access = Access.at(host, listener.getsockname()[1], Exposure.find())
    with rare_garbage_collection():
        import uvicorn
        from fastapi.middleware.cors import CORSMiddleware

        from modelworks.registry.packaging.scoring_app import make_app

        model = make_app(Path(sys.argv[4]))
    app = CORSMiddleware(
        model,
        allow_origins=sorted(access.origins),
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
    )
    config = uvicorn.Config(guarded(app, access), log_level="warning", server_header=False, timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
