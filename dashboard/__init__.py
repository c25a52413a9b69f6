"""What the microscopist sees: live maps, the state of the stream, and the refinement, in a browser.

A process of its own (``python -m ptylive.dashboard``). It reaches the server only through
:mod:`ptylive.server.wire.client`; when it dies, no frame is lost.
"""
