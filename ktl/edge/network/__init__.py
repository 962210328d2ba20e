"""An edge and a cloud on another machine, over HTTP."""
