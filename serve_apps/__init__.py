"""Floor 3: the MCP coordinator, a Ray Serve application."""
