"""The user interface in the browser: live maps, the state of the stream, and the refinement.

It runs as a separate process (``python -m ptylive.dashboard``) and reaches the server only through
:mod:`ptylive.server.wire.client`; if it dies, no frame is lost.
"""
