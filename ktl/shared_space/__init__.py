"""The space that edges of any architecture share: each maps its own features into it, and class statistics add up."""
