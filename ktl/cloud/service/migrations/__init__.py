"""The database's schema through the releases; a server upgrades its database when it starts."""
