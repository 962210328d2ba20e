"""The status page: what an admin sees of a running server in a browser."""
