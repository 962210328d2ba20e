"""The paper's tables, and what it counts."""
