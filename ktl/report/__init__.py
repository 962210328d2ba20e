"""A finished run, or several, as one page that a person can judge it by. Never imports torch."""
