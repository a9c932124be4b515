"""Search page and JSON interface of an index, as an ASGI application; needs `ibc-pyg[serve]`."""

from ibc_pyg.serve.app import create_app as create_app
from ibc_pyg.serve.limits import Limits as Limits
