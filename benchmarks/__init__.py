"""What ktl was measured to do, and the programs that measure it: README.md lists them. Run from the repository root."""
